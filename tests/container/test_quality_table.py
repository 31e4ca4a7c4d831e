"""The quality table: 14 bytes, and the code bytes that a PSNR takes by it."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from ctc_codec.container.quality_table import POINTS, QualityTable, lengths, table_of

CURVE = QualityTable(tuple(38.0 - 1.3 * k for k in range(POINTS)))


def test_table_is_14_bytes_and_keeps_values_to_a_hundredth() -> None:
    assert len(CURVE.to_bytes()) == 14
    back = QualityTable.parse(CURVE.to_bytes())
    assert back is not None
    assert max(abs(a - b) for a, b in zip(back.psnr, CURVE.psnr, strict=True)) <= 0.0101
    assert QualityTable.parse(CURVE.to_bytes()[:-1]) is None


def test_steep_or_rising_values_become_the_nearest_that_can_be_written() -> None:
    """Up to 4.6 dB at once to a hundredth, up to 29.6 to half a dB."""
    steep = QualityTable((60.0, 55.41, 50.0, 51.0, 40.2, 6.1, 6.0, *[0.0] * (POINTS - 7)))
    back = QualityTable.parse(steep.to_bytes())
    assert back is not None
    assert all(a >= b for a, b in pairwise(back.psnr))
    assert back.psnr[1] == pytest.approx(55.41, abs=0.011)
    assert back.psnr[2:5] == pytest.approx((50.0, 50.0, 40.2), abs=0.51)
    assert back.psnr[5] == pytest.approx(back.psnr[4] - 29.6)
    assert back.psnr[6] == pytest.approx(6.0, abs=0.51)
    assert back.psnr[8:] == (0,) * 5


@pytest.mark.parametrize("code_bytes", [0, 1, 5, 63, 64, 1000, 54_321])
def test_bytes_for_a_psnr_are_the_fewest_by_the_table(code_bytes: int) -> None:
    known = lengths(code_bytes)
    assert known == sorted(known, reverse=True)
    assert known[0] == code_bytes
    for target in (20.0, 25.0, 31.7, 37.99, 38.0):
        count = CURVE.code_bytes_for(target, code_bytes)
        assert count is not None
        assert count <= max(code_bytes, 1)
        if code_bytes >= 1000 and target > CURVE.psnr[-1]:
            reached, less = CURVE.at(count, code_bytes), CURVE.at(count - 1, code_bytes)
            assert reached is not None
            assert less is not None
            assert less < target + 1e-9 <= reached + 2e-9
    assert CURVE.code_bytes_for(38.01, code_bytes) is None


def test_table_from_measurements_is_linear_in_log_bytes_and_never_rises() -> None:
    points = [(10_000 >> i, 40.0 - 2 * i) for i in range(8)]
    table = table_of(10_000, points)
    assert table.psnr == pytest.approx([40 - k for k in range(POINTS)], abs=0.02)
    one_slice = table_of(10_000, [(10, 6.0), (10_000, 40.0)])  # squared error is linear in its bytes
    assert one_slice.psnr[2] == pytest.approx(6.0 + 10 * math.log10(2), abs=0.05)
    bumpy = table_of(10_000, [(10_000, 35.0), (5000, 36.0), (200, 20.0)])
    assert all(a >= b for a, b in pairwise(bumpy.psnr))
    assert table_of(10_000, [(10_000, 35.0)]).psnr[0] == 35.0
    assert table_of(0, [(0, 35.0)]).psnr[0] == 35.0
