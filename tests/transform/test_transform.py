"""Colour rotation and wavelet: nothing is lost, errors keep their size, no integer overflows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ctc_codec.transform import tiles
from ctc_codec.transform.colour import rotate, unrotate
from ctc_codec.transform.lifting import (
    FIXED_BITS,
    FIXED_HIGH,
    FIXED_LIMIT,
    FIXED_LOW,
    FIXED_STEPS,
    LEVELS,
    analyse,
    analyse_level,
    fixed_synthesise_level,
    half,
    level_sides,
    synthesise,
    synthesise_level,
    synthesise_to,
)
from ctc_codec.transform.tiles import reading, writing

SIZES = [*itertools.product(range(1, 10), range(1, 10)), (1, 257), (255, 1), (131, 97), (64, 63), (200, 333)]


def _planes(height: int, width: int, colours: int = 1) -> npt.NDArray[np.float32]:
    return (
        np.random.default_rng(height * 1000 + width).uniform(-221, 221, (colours, height, width)).astype("f4")
    )


def _level(planes: npt.NDArray[np.float32], **how: Any) -> tuple[npt.NDArray[np.float32], ...]:
    colours, height, width = planes.shape
    details = np.full((3 * colours, half(height), half(width)), np.nan, np.float32)
    return analyse_level(reading(planes), planes.shape, writing(details), **how), details


# --- floating point ---------------------------------------------------------------------------------


@pytest.mark.parametrize("colours", [1, 3])
def test_synthesis_is_the_inverse_at_every_size(colours: int) -> None:
    for height, width in SIZES:
        planes = _planes(height, width, colours)
        low, details = analyse(planes)
        sides = level_sides(height, width)
        assert [detail.shape for detail in details] == [(3 * colours, *side) for side in sides]
        assert low.shape == (colours, *sides[-1])
        assert np.abs(synthesise(low, details, height, width) - planes).max() < 2e-3, (height, width)


def test_stopping_gives_the_low_band_of_that_level() -> None:
    ll = planes = _planes(75, 130, 3)
    low, details = analyse(planes)
    for stop in range(LEVELS):
        stopped = np.empty_like(ll)
        synthesise_to(writing(stopped), low, [reading(level) for level in details], (75, 130), stop)
        assert np.abs(stopped - ll).max() < 0.01
        ll = _level(ll)[0]


def _backwards(work: Callable[[Any], None], parts: Sequence[Any]) -> None:
    assert len(parts) > 1
    for part in parts[::-1]:
        work(part)


@pytest.mark.parametrize("sides", [(30, 550), (261, 15), (64, 33)])
def test_tiles_leave_no_trace(sides: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a bit depends on their size and order."""
    planes = _planes(*sides, 3)
    whole = np.empty_like(planes)
    monkeypatch.setattr(tiles, "_TILE", 1 << 30)
    monkeypatch.setattr(tiles, "_TILE_WIDTH", 1 << 15)
    low, details = _level(planes)
    synthesise_level(low, reading(details), sides, writing(whole))
    for width, tile in ((64, 512), (7, 35), (1, 1)):
        monkeypatch.setattr(tiles, "_TILE_WIDTH", width)
        monkeypatch.setattr(tiles, "_TILE", tile)
        found = _level(planes, share=_backwards)
        assert np.array_equal(found[0], low)
        assert np.array_equal(found[1], details)
        out = np.full_like(planes, np.nan)
        synthesise_level(low, reading(details), sides, writing(out), _backwards)
        assert np.array_equal(out, whole)


def test_orientations_are_those_that_their_names_say() -> None:
    """HL, LH, HH: high along rows, along columns, along both; each for all colours."""
    y, x = np.mgrid[0:16, 0:16]
    for orientation, pattern in enumerate((x % 2, y % 2, (x + y) % 2)):
        planes = np.stack([pattern, np.zeros_like(pattern), 2 * pattern]).astype(np.float32)
        energy = np.square(analyse(planes)[1][0]).sum(axis=(1, 2)).reshape(3, 3)
        assert energy[orientation, 0] > 0.9 * energy[:, 0].sum() > 0
        assert energy[:, 1].sum() == 0
        assert energy[:, 2] == pytest.approx(4 * energy[:, 0])


def test_constants_and_ramps_leave_no_details() -> None:
    y, x = np.mgrid[0:64, 0:64]
    for planes in (np.full((1, 64, 64), 100.0), (x + 2.0 * y)[None]):
        details = analyse(planes.astype(np.float32))[1][0]
        assert np.abs(details[:, 4:-4, 4:-4]).max() < 1e-4


def test_a_unit_error_weighs_about_one_in_every_band() -> None:
    """Energy of the samples that one coefficient makes: 0.93 to 1.16 in levels 0 to 3, up to 1.44 above."""
    height = width = 256
    low, details = analyse(np.zeros((1, height, width), np.float32))
    bands = [low[0], *(band for detail in details for band in detail)]
    for number, band in enumerate(bands):
        centre = band.shape[0] // 2, band.shape[1] // 2
        band[centre] = 1
        energy = float(np.square(synthesise(low, details, height, width)).sum())
        band[centre] = 0
        assert 0.93 < energy < (1.16 if 0 < number <= 12 else 1.45)


def test_rounding_of_coefficients_costs_what_it_has() -> None:
    """White errors of all coefficients come out with 0.98 to 1.06 times their energy."""
    rng = np.random.default_rng(5)
    low, details = analyse(np.zeros((3, 96, 131), np.float32))
    for array in (low, *details):
        array += rng.uniform(-0.5, 0.5, array.shape).astype(np.float32)
    assert float(np.square(synthesise(low, details, 96, 131)).mean() * 12) == pytest.approx(1.02, abs=0.04)


# --- colour -----------------------------------------------------------------------------------------


def test_rotation_is_orthonormal_and_loses_nothing() -> None:
    rng = np.random.default_rng(1)
    samples = rng.integers(0, 256, (50, 40, 3)).astype(np.uint8)
    samples[0, :8] = list(itertools.product((0, 255), repeat=3))
    planes = rotate(samples, grey=False)
    assert np.array_equal(unrotate(planes.copy()), samples)
    assert np.square(planes).sum(axis=0) == pytest.approx(np.square(samples - 127.5).sum(axis=2), rel=1e-4)


def test_a_grey_picture_has_the_luma_of_its_colour_version() -> None:
    samples = np.arange(256, dtype=np.uint8).reshape(16, 16)
    colour = np.repeat(samples[..., None], 3, axis=2)
    luma = rotate(colour, grey=True)
    assert luma.shape == (1, 16, 16)
    whole = rotate(colour, grey=False)
    assert np.abs(whole[0] - luma[0]).max() < 1e-4
    assert np.abs(whole[1:]).max() < 1e-4
    assert np.array_equal(unrotate(luma), samples[..., None])


def test_rotation_of_a_part_is_the_part_of_a_rotation() -> None:
    samples = np.random.default_rng(2).integers(0, 256, (31, 40, 3)).astype(np.uint8)
    for grey in (False, True):
        whole, part = rotate(samples, grey), np.full((1 if grey else 3, 31, 40), np.nan, np.float32)
        rotate(samples[1::2, ::2], grey, part[:, 1::2, ::2])
        assert np.array_equal(part[:, 1::2, ::2], whole[:, 1::2, ::2])
        back = np.zeros((31, 40, len(whole)), np.uint8)
        unrotate(whole[:, ::2, 1::2], back[::2, 1::2])
        assert np.array_equal(back[::2, 1::2], samples[::2, 1::2, : len(whole)])


def test_samples_out_of_range_are_clamped() -> None:
    for far, sample in ((-1e6, 0), (1e6, 255)):
        assert (unrotate(np.full((1, 2, 2), far, np.float32)) == sample).all()


# --- integers, against Python's ---------------------------------------------------------------------

Number = int | float
Grid = list[list[Number]]


class _Plain:
    """The inverse of a level by the book, for integers of any size, or for floats without rounding.

    products: every (number, constant) of 1/4096 that were multiplied.
    """

    def __init__(self) -> None:
        self.products: list[tuple[Number, int]] = []

    def scaled(self, numbers: Sequence[Number], constant: int) -> list[Number]:
        self.products += [(number, constant) for number in numbers]
        return [self._rounded(number * constant) for number in numbers]

    @staticmethod
    def _rounded(product: Number) -> Number:
        one = 1 << FIXED_BITS
        return (product + one // 2) >> FIXED_BITS if isinstance(product, int) else product / one

    def odd(self, odd: list[Number], even: list[Number], step: int) -> list[Number]:
        whole = -(-step >> FIXED_BITS)
        totals = [a + b for a, b in zip(even, [*even[1:], even[-1]], strict=True)]
        parts = self.scaled(totals, step - (whole << FIXED_BITS))
        return [n - whole * total - part for n, total, part in zip(odd, totals, parts, strict=True)]

    def even(self, even: list[Number], odd: list[Number], step: int) -> list[Number]:
        totals = [a + b for a, b in zip([odd[0], *odd[:-1]], odd, strict=True)]
        return [n - part for n, part in zip(even, self.scaled(totals, step), strict=True)]

    def join(self, low: Sequence[Number], high: Sequence[Number], size: int) -> list[Number]:
        even, odd = self.scaled(low, FIXED_LOW), self.scaled(high, FIXED_HIGH)
        even = self.even(even, odd, FIXED_STEPS[3])
        odd = self.odd(odd, even, FIXED_STEPS[2])
        even = self.even(even, odd, FIXED_STEPS[1])
        odd = self.odd(odd, even, FIXED_STEPS[0])
        return [(odd if i % 2 else even)[i // 2] for i in range(size)]

    def level(self, bands: Sequence[Grid], height: int, width: int) -> Grid:
        ll, hl, lh, hh = (list(zip(*band, strict=True)) for band in bands)
        left = [self.join(a, b, height) for a, b in zip(ll, lh, strict=True)]
        right = [self.join(a, b, height) for a, b in zip(hl, hh, strict=True)]
        rows = zip(zip(*left, strict=True), zip(*right, strict=True), strict=True)
        return [self.join(a, b, width) for a, b in rows]


def _fixed(bands: npt.NDArray[np.int32], height: int, width: int) -> npt.NDArray[np.int32]:
    return fixed_synthesise_level(bands[:1], bands[1:], (height, width))[0]


def _assert_same(bands: npt.NDArray[np.int32], height: int, width: int) -> list[tuple[Number, int]]:
    plain = _Plain()
    clamped = np.clip(bands, -FIXED_LIMIT, FIXED_LIMIT).tolist()
    assert _fixed(bands, height, width).tolist() == plain.level(clamped, height, width)
    return plain.products


@pytest.mark.parametrize("largest", [1, 40, 5000, FIXED_LIMIT, 1 << 21, (1 << 31) - 1])
def test_the_inverse_in_integers_is_that_of_big_integers(largest: int) -> None:
    rng = np.random.default_rng(largest)
    for height, width in [(1, 1), (1, 6), (2, 1), (3, 3), (5, 8), (16, 11)]:
        shape = 4, half(height), half(width)
        _assert_same(rng.integers(-largest, largest + 1, shape).astype(np.int32), height, width)
        _assert_same(rng.choice([-largest, largest], shape).astype(np.int32), height, width)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (4, 5), (9, 8)])
def test_no_product_leaves_32_bits_whatever_the_bands(height: int, width: int) -> None:
    """Of every product, the bands that make it largest, by what each coefficient adds to it."""
    shape = 4, half(height), half(width)
    effects = []
    for number in range(int(np.prod(shape))):
        unit = np.zeros(shape)
        unit.flat[number] = 1
        plain = _Plain()
        plain.level(unit.tolist(), height, width)
        effects.append([value * constant for value, constant in plain.products])
    effect = np.array(effects)
    constants = np.array([constant for _, constant in plain.products])
    reach = np.abs(effect).sum(axis=0) * FIXED_LIMIT
    worst = {
        int(np.flatnonzero(constants == c)[reach[constants == c].argmax()]) for c in set(constants.tolist())
    }
    worst.add(int(reach.argmax()))
    for product in worst:
        bands = (np.sign(effect[:, product]) * FIXED_LIMIT).reshape(shape).astype(np.int32)
        for extreme in (bands, -bands):
            found = max(abs(number * constant) for number, constant in _assert_same(extreme, height, width))
            assert found + (1 << FIXED_BITS) < 1 << 31
    assert reach.max() > 0.5 * (1 << 31)  # so it is not far


def test_integers_follow_the_wavelet() -> None:
    """The inverse in integers is that of floats to within 2 and a thousandth of the values."""
    for height, width in [(7, 9), (64, 48)]:
        bands = np.random.default_rng(3).integers(-3000, 3000, (4, half(height), half(width)))
        exact = np.empty((1, height, width), np.float32)
        low, details = bands[:1].astype("f4"), reading(bands[1:].astype("f4"))
        synthesise_level(low, details, (height, width), writing(exact))
        assert np.abs(_fixed(bands.astype(np.int32), height, width) - exact[0]).max() < 2 + 6000 / 1000


def test_the_adjoint_is_the_transpose_of_the_inverse_within_edges() -> None:
    """Of pictures of several tiles: inside them what the inverse makes of a coefficient is found again."""
    rng, size = np.random.default_rng(4), (640, 1280)
    planes = rng.normal(size=(2, *size)).astype(np.float32)
    low, details = analyse(np.zeros_like(planes))
    for detail in details[:3]:
        inner = detail[:, 10:-10, 10:-10]
        inner += rng.normal(size=inner.shape).astype(np.float32)
    picture = np.vdot(synthesise(low, details, *size).astype(np.float64), planes)
    back, common = planes, 0.0
    for detail in details:
        back, found = _level(back, adjoint=True)
        common += np.vdot(found.astype(np.float64), detail)
    assert common == pytest.approx(picture, rel=1e-3)
    assert abs(picture) > 100
