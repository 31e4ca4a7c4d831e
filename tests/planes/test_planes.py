"""Balanced ternary, what is known of the latent, and the order in which more is told."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ctc_codec.planes import low
from ctc_codec.planes.cells import BLANK_LEVELS, active_cells, every_cell, positions
from ctc_codec.planes.order import DEMOTION, KNOWN, demoted, tiles
from ctc_codec.planes.state import State
from ctc_codec.planes.trits import MAX_PLANES, UNIT, VALUE_LIMIT, at_plane, planes_of, quantise, unit
from ctc_codec.transform.lifting import LEVELS, level_sides

# --- balanced ternary -------------------------------------------------------------------------------


def _balanced(value: int, digits: int) -> list[int]:
    """Balanced-ternary digits of a number, least first, in Python integers."""
    out = []
    for _ in range(digits):
        digit = (value + 1) % 3 - 1
        out.append(digit)
        value = (value - digit) // 3
    assert value == 0
    return out


def test_planes_are_the_leading_digits() -> None:
    values = [*range(-130, 131), -VALUE_LIMIT, 1 - VALUE_LIMIT, VALUE_LIMIT - 1, VALUE_LIMIT]
    digits = [_balanced(value, MAX_PLANES) for value in values]
    for plane in range(MAX_PLANES):
        expected = [sum(d * 3**i for i, d in enumerate(each[plane:])) for each in digits]
        found = at_plane(np.array(values, np.int32), plane)
        assert found.dtype == np.int32
        assert found.tolist() == expected
    assert not at_plane(np.array(values, np.int32), MAX_PLANES).any()


def test_a_value_is_within_half_a_unit_at_every_plane() -> None:
    coefficients = np.random.default_rng(1).normal(0, 900, 5000).astype(np.float32)
    values = quantise(coefficients)
    assert np.abs(coefficients - values * unit(0)).max() <= UNIT / 2 * 1.0001
    for plane in range(MAX_PLANES):
        assert np.abs(values * unit(0) - at_plane(values, plane) * unit(plane)).max() < unit(plane) / 2


def test_coefficients_beyond_all_planes_are_brought_to_the_last_value() -> None:
    assert quantise(np.array([-1e9, 1e9], np.float32)).tolist() == [-VALUE_LIMIT, VALUE_LIMIT]
    assert np.iinfo(np.int16).max > VALUE_LIMIT


def test_planes_are_as_many_as_the_largest_value_needs() -> None:
    for largest in [*range(400), VALUE_LIMIT - 1, VALUE_LIMIT]:
        planes = planes_of(largest)
        digits = _balanced(largest, MAX_PLANES)
        assert planes == max((i + 1 for i, digit in enumerate(digits) if digit), default=0)
        # As many as the most negative one needs, and as those in between at most.
        assert (at_plane(np.array([largest, -largest], np.int32), planes) == 0).all()


# --- state ------------------------------------------------------------------------------------------


def _state(height: int = 21, width: int = 34, colours: int = 3, planes: int = 5) -> State:
    return State(level_sides(height, width), colours, planes)


@pytest.mark.parametrize("colours", [1, 3])
def test_elements_lie_coarse_to_fine_by_channel_and_raster(colours: int) -> None:
    state = _state(colours=colours)
    sides = level_sides(21, 34)
    numbers, at = np.arange(state.count), 0
    for level in range(LEVELS - 1, -1, -1):
        part = state.level(numbers, level)
        assert part.shape == (3 * colours, *sides[level])
        assert np.array_equal(part.reshape(-1), np.arange(at, at + part.size))
        at += part.size
    assert at == state.count
    state.level(state.value, 0)[-1, -1, -1] = 7  # a view
    assert state.value[-1] == 7


def test_trits_add_up_to_the_value() -> None:
    """All elements' trits, plane by plane, in two parts of each plane."""
    state = _state()
    rng = np.random.default_rng(2)
    whole = rng.integers(-121, 122, state.count).astype(np.int32)
    elements = rng.permutation(state.count)
    for plane in range(4, -1, -1):
        state.begin_plane(plane, range(LEVELS))
        assert not state.known.any()
        for part in np.array_split(elements, 2):
            state.learn(part, at_plane(whole, plane)[part] - 3 * at_plane(whole, plane + 1)[part])
            assert state.known[part].all()
        assert np.array_equal(state.value, at_plane(whole, plane))
    assert state.plane == 0


def test_levels_asleep_are_known_to_be_zero() -> None:
    state = _state()
    state.begin_plane(4, [1, 5])
    for level in range(LEVELS):
        assert state.level(state.known, level).all() == (level not in (1, 5))


def test_a_copy_stays() -> None:
    state = _state()
    copy = state.copy()
    state.begin_plane(3, [0])
    state.learn(np.array([state.count - 1]), np.array([1], np.int32))
    state.begin_low(2)
    state.low += 1
    assert (copy.plane, copy.low_plane) == (5, 5)
    assert not copy.value.any()
    assert copy.known.all()
    assert copy.low_known.all()
    assert not copy.low.any()


# --- low band ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 5), (3, 6, 1), (1, 7, 9)])
def test_differences_of_the_low_band_lead_back(shape: tuple[int, int, int]) -> None:
    values = np.random.default_rng(3).integers(-VALUE_LIMIT, VALUE_LIMIT + 1, shape).astype(np.int32)
    difference = low.differences(values)
    c, i, j = 0, shape[1] - 1, shape[2] - 1
    left = values[c, i, j - 1] if j else values[c, i - 1, j] if i else 0
    assert difference.reshape(shape)[c, i, j] == values[c, i, j] - left
    assert np.array_equal(low.from_differences(difference, shape), values)


def test_digits_of_the_low_band_are_balanced_and_enough() -> None:
    """For differences of the largest values of 8-bit samples: 1.69 times those of a flat picture."""
    most = int(1.7 * 127.5 * 3**0.5 * 2**LEVELS / UNIT)
    for plane in range(MAX_PLANES):
        digits = low.digits_at(plane)
        difference = 2 * int(at_plane(np.array([most], np.int32), plane)[0])
        numbers = [-difference, *range(-min(difference, 40), min(difference, 40) + 1), difference]
        expected = [_balanced(number, digits) for number in numbers]
        for digit in range(digits):
            found = low.digit_of(np.array(numbers, np.int32), digit)
            assert found.tolist() == [each[digit] for each in expected]


def test_frequencies_of_the_low_band_add_up() -> None:
    assert (low.LEADING.sum(axis=1, dtype=int) == 65536).all()
    assert int(low.UNIFORM.sum(dtype=int)) == 65536
    assert low.LEADING.min() > 0
    rows = low.digit_rows(np.array([0, 9, -9], np.int32), 1)
    assert rows.tolist() == [low.LEADING[1].tolist(), low.UNIFORM.tolist(), low.UNIFORM.tolist()]


def test_a_damaged_low_band_stays_within_32_bits() -> None:
    """Nine planes after a first one of the largest values that a file can name."""
    shape = 1, 40, 40
    reach = (3 ** low.digits_at(9) - 1) // 2
    values = low.from_differences(np.full(1600, reach, np.int32), shape)
    assert values.max() <= VALUE_LIMIT
    state = State([(40, 40)] * LEVELS, 1, 10)
    state.low[:] = VALUE_LIMIT
    for plane in range(8, -1, -1):
        state.begin_low(plane)
        state.low += 1
    assert int(state.low.max()) == VALUE_LIMIT * 3**9 + (3**9 - 1) // 2


# --- order ------------------------------------------------------------------------------------------


def test_every_other_position_counts_less() -> None:
    classes = np.array([1, 2, DEMOTION, DEMOTION + 1, DEMOTION + 2, 255], np.uint8)
    less = [1, 1, 1, 1, 2, 255 - DEMOTION]
    picture = np.broadcast_to(classes[:, None, None], (6, 3, 4))
    for top, left in ((0, 0), (8, 5), (3, 2), (7, 7)):
        found = demoted(picture, slice(top, top + 3), slice(left, left + 4))
        for i, j in itertools.product(range(3), range(4)):
            odd = (top + i + left + j) % 2
            assert found[:, i, j].tolist() == (less if odd else classes.tolist())


@pytest.mark.parametrize("size", [(1, 1), (1024, 1024), (1025, 3), (7, 2050), (1500, 1300)])
def test_tiles_hold_every_element_once(size: tuple[int, int]) -> None:
    height, width = size
    state = State(level_sides(height, width), 1, 1)
    ones, none = np.ones(state.count, np.uint8), np.zeros(1, bool)
    found = [tile.slice_elements(state, ones, 1, none)[0] for tile in tiles(height, width, LEVELS)]
    assert len(found) == -(-height // 1024) * -(-width // 1024)
    assert np.array_equal(np.sort(np.concatenate(found)), np.arange(state.count))
    assert all((np.diff(elements) > 0).all() for elements in found)
    for number, elements in enumerate(found):
        top, left = 1024 * (number // -(-width // 1024)), 1024 * (number % -(-width // 1024))
        for level in range(LEVELS):
            flags = np.zeros(state.count, bool)
            flags[elements] = True
            rows, columns = (np.flatnonzero(state.level(flags, level)[0].any(axis=a)) for a in (1, 0))
            assert rows[0] * 2 ** (level + 1) == top
            assert columns[0] * 2 ** (level + 1) == left


@pytest.mark.parametrize("size", [(40, 50), (30, 1060)])
def test_slices_go_by_class_and_leave_quiet_ones_to_the_end(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(4)
    state = State(level_sides(*size), 1, 1)
    classes = rng.integers(0, 256, state.count).astype(np.uint8)
    quiet = rng.random(state.count) < 0.4
    state.row[:] = quiet
    for threshold in (1, 40, 255):
        parts = []
        for tile in tiles(*size, LEVELS):
            alone, where = tile.slice_elements(state, classes, threshold, np.array([False, True]))
            parts.append((alone, tile.elements(state, where)))
        chosen = [e for e in range(state.count) if classes[e] >= threshold and classes[e] != KNOWN]
        assert sorted(e for part in parts for each in part for e in each.tolist()) == chosen
        for busy, calm in parts:
            assert busy.tolist() == sorted(busy.tolist(), key=lambda e: (-int(classes[e]), e))
            assert calm.tolist() == sorted(calm.tolist())
            assert not quiet[busy].any()
            assert quiet[calm].all()


# --- cells ------------------------------------------------------------------------------------------


def test_cells_are_active_around_what_is_not_zero_and_below_it() -> None:
    rng = np.random.default_rng(5)
    for size in ((200, 150), (37, 301), (1, 1), (16, 16), (90, 17)):
        for count in (0, 1, 4):
            state = State(level_sides(*size), 3, 3)
            state.value[rng.integers(0, state.count, count)] = rng.choice([-32768, -1, 1, 512])
            for level in range(BLANK_LEVELS):
                height, width = state.sides[level]
                found = positions(active_cells(state, level), height, width)
                assert found.shape == (height, width)
                assert positions(every_cell(state, level), height, width).all()
                marked = set()
                for own, scale in ((level, 1), (level + 1, 2)):
                    for _, i, j in np.argwhere(state.level(state.value, own)).tolist():
                        marked.add((i * scale // 8, j * scale // 8))
                for i, j in itertools.product(range(height), range(width)):
                    near = itertools.product(*(range(k // 8 - 1, k // 8 + 2) for k in (i, j)))
                    assert found[i, j] == any(cell in marked for cell in near)
