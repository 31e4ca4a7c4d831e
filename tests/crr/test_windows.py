"""Windows in which a level is looked at: all that is active, nothing twice."""

from __future__ import annotations

import numpy as np
import pytest

from ctc_codec.crr.context import _Coarser
from ctc_codec.crr.inputs import reconstruction
from ctc_codec.crr.windows import windows
from ctc_codec.planes.cells import positions
from ctc_codec.transform.lifting import fixed_synthesise_level, half


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.4, 0.9, 1.0])
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (70, 300), (300, 70), (513, 511)])
def test_windows_hold_all_active_cells_once(size: tuple[int, int], share: float) -> None:
    rng = np.random.default_rng(1)
    cells = rng.random([-(-side // 8) for side in size]) < share
    for most in (64, 1000, 4096, 1 << 15):
        found = windows(cells, size, 3, most)
        seen = np.zeros(size, int)
        for rows, columns in found:
            assert 0 <= rows.start < rows.stop <= size[0]
            assert 0 <= columns.start < columns.stop <= size[1]
            seen[rows, columns] += 1
        assert seen.max(initial=0) <= 1
        assert (seen[positions(cells, *size)] == 1).all()
        areas = [seen[window].size for window in found]
        assert areas == sorted(areas, reverse=True) or min(size) % 8
        assert max(areas, default=0) <= max(most, 64 * 4)
    if share in (0.0, 0.02):
        assert seen.mean() < 0.5


@pytest.mark.parametrize("sides", [(1, 1), (2, 3), (40, 61), (65, 32)])
def test_a_prediction_made_in_windows_is_that_of_the_whole(sides: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    shape = tuple(half(side) for side in sides)
    low = rng.integers(-(1 << 17), 1 << 17, (3, *shape)).astype(np.int32)
    value = rng.integers(-9000, 9000, (9, *shape)).astype(np.int16)
    known = rng.random((9, *shape)) < 0.5
    coarser = _Coarser(low, value, known, sides)
    whole = fixed_synthesise_level(low.copy(), reconstruction(value, known), sides)
    assert np.array_equal(coarser.whole(), whole)
    for _ in range(30):
        rows, columns = (slice(*sorted(rng.choice(side + 1, 2, replace=False))) for side in sides)
        assert np.array_equal(coarser.window(rows, columns), whole[:, rows, columns])
