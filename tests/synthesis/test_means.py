"""Conditional means: what the tables tell of every case, by arrays as by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from ctc_codec.crr.density import ROWS
from ctc_codec.synthesis.means import offsets, refined

_RNG = np.random.default_rng(8)
MEANS = _RNG.uniform(-1.5, 1.5, (4, 2 * ROWS)).astype(np.float32)
VALUE = _RNG.integers(-40, 41, (3, 20, 30)).astype(np.int16)
KNOWN = _RNG.random(VALUE.shape) < 0.5
VALUE[~KNOWN] *= 3
ROW, NOW = (_RNG.integers(0, 2 * ROWS, VALUE.shape).astype(np.uint16) for _ in range(2))
ROW[0, 0, :2] = 0, 2 * ROWS - 1


def _offset(value: int, known: bool, row: int) -> np.float32:
    """The case is 0 for an element that is not known, or 2 more than its trit."""
    trit = value - 3 * ((value + 1) // 3)
    return np.float32(MEANS[trit + 2 if known else 0, row])


def _by_hand(row: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    elements = zip(VALUE.ravel().tolist(), KNOWN.ravel().tolist(), row.ravel().tolist(), strict=True)
    return np.array([_offset(*element) for element in elements], np.float32).reshape(row.shape)


def test_offsets_are_looked_up_by_trit_and_row() -> None:
    for at in ((...,), (slice(None), slice(1, None, 2), slice(3, 20))):
        assert np.array_equal(offsets(VALUE[at], KNOWN[at], ROW[at], MEANS), _by_hand(ROW)[at])


@pytest.mark.parametrize("unit", [8 / 3, 24.0, 1944.0])
def test_coefficients_are_means_of_what_is_told(unit: float) -> None:
    """Of a known element, of both densities; of another, of the one now; without tables, middles."""
    out = np.full(VALUE.shape, np.nan, np.float32)
    size = np.float32(unit)
    then, now = ((VALUE + _by_hand(row)) * size for row in (ROW, NOW))
    for rows, expected in (([ROW], then), ([ROW, NOW], np.where(KNOWN, (then + now) / 2, now))):
        refined(VALUE, KNOWN, rows, unit, MEANS, out)
        assert np.array_equal(out, expected)
    refined(VALUE, KNOWN, [ROW], unit, None, out)
    assert np.array_equal(out, VALUE * size)
