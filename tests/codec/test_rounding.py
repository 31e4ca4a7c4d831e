"""Trits chosen by bits and errors: never what the decoder cannot read, never worse where it counts."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ctc_codec import CodecModel, decode, encode, truncate
from ctc_codec.codec import guide
from ctc_codec.codec.picture import analysed, low_band, reconstruct
from ctc_codec.codec.rounding import _ENERGY, LAST_WORD, Outlook, Rounding, thresholds
from ctc_codec.planes.state import State
from ctc_codec.planes.trits import at_plane, quantise, unit
from ctc_codec.transform.lifting import analyse, level_sides, synthesise
from ctc_codec.transform.tiles import serially
from support.pictures import KINDS, photograph, psnr


def encode_plainly(picture: Image.Image, monkeypatch: pytest.MonkeyPatch, **options: Any) -> bytes:
    """A file with the nearest trits."""
    plain = {number: replace(effort, rounds=0) for number, effort in guide._EFFORTS.items()}
    with monkeypatch.context() as patch:
        patch.setattr(guide, "_EFFORTS", plain)
        return encode(picture, **options)


def squared_error(rounding: Rounding, outlook: Outlook) -> float:
    """Of all samples of the picture, in grey levels."""
    planes = [rounding._in_pixels(outlook, colour)[1] for colour in range(outlook.state.colours)]
    return float(np.square(planes).sum(dtype=np.float64)) * unit(outlook.state.plane) ** 2


@pytest.mark.parametrize("price", [0.0, 0.01, 0.1, 0.3])
def test_thresholds_choose_the_trit_that_costs_least(price: float, model: CodecModel) -> None:
    """Of the plain one and those next to it from which later planes can still reach the value."""
    densities, rng = model.densities, np.random.default_rng(3)
    low, high = thresholds(densities, price)
    assert low.dtype == high.dtype == np.float32
    assert (low <= high).all()
    rows = rng.integers(0, len(low), 20_000)
    exact = rng.uniform(-1.5, 1.5, len(rows)).astype(np.float32)
    chosen = (exact > high[rows]).astype(int) + (exact >= low[rows])
    trits = np.arange(3)
    bits = -np.log2(densities.frequencies[rows] / 65536)
    means = trits - 1 + densities.means[1:].T[rows] * LAST_WORD
    costs = np.square(exact[:, None] - means) + price * bits
    plain = np.clip(np.rint(exact), -1, 1).astype(int) + 1
    each = np.arange(len(rows))
    # No trit is given up for one with more bits, as later planes reach no farther than its interval.
    costs[(trits != plain[:, None]) & (bits >= bits[each, plain][:, None])] = np.inf
    excess = costs[each, chosen] - costs.min(axis=1)
    assert np.isfinite(excess).all()
    assert (excess < 1e-3).mean() > 0.97  # else two steps away, or a step beside one that is never best
    assert (chosen != plain).any() == (price > 0)


def test_energies_are_those_of_the_wavelet() -> None:
    low, details = analyse(np.zeros((1, 1024, 1024), np.float32))
    for level, detail in enumerate(details):
        for orientation, band in enumerate(detail):
            band[band.shape[0] // 2, band.shape[1] // 2] = 1
            energy = np.square(synthesise(low, details, 1024, 1024)).sum()
            assert 1 / energy == pytest.approx(_ENERGY[level, orientation], rel=1e-3)
            band[:] = 0


@pytest.mark.parametrize("size", [(150, 201), (97, 64), (17, 300)])
def test_corrections_take_off_squared_error_of_pixels(size: tuple[int, int], model: CodecModel) -> None:
    height, width = size
    low, details = analysed(photograph(width, height), False, model)
    levels = details[::-1]
    values = np.concatenate([quantise(level).reshape(-1) for level in levels])
    rounding, state, plane = Rounding(levels, model.densities), State(level_sides(height, width), 3, 9), 2
    assert np.array_equal(rounding.values, values)
    state.plane = state.low_plane = plane
    state.low[:] = at_plane(quantise(low), plane)
    state.value[:] = 3 * at_plane(values, plane + 1)
    state.known[:] = False
    state.row[:] = np.random.default_rng(1).integers(30, 60, state.count)  # centres at 0
    coming = np.ones(state.count, bool)
    outlook = Outlook(state, coming, low_band(state) - low, size, serially)
    rounding.begin_plane(0.0)
    elements = np.arange(state.count)
    before, plain = squared_error(rounding, outlook), rounding.trits(state, elements)
    for _ in range(3):
        rounding.correct(outlook, 0.3)
    after, trits = squared_error(rounding, outlook), rounding.trits(state, elements)
    assert (trits != plain).any()
    assert after < 0.99 * before
    # An element moves by the limit at most, and plain rounding is back with the next plane.
    true = np.concatenate([level.reshape(-1) for level in levels]) / unit(plane) - state.value
    moved = trits != plain
    edge = np.abs(np.abs(true[moved]) - 0.5)
    assert edge.max() < 0.32
    rounding.begin_plane(None)
    assert np.array_equal(
        rounding.trits(state, elements), at_plane(values, plane) - 3 * at_plane(values, plane + 1) + 1
    )


def test_the_error_in_pixels_is_the_decoders(model: CodecModel) -> None:
    """Of an untouched plane: the picture of the means against the original."""
    height, width = 96, 120
    samples = photograph(width, height)
    low, details = analysed(samples, False, model)
    levels = details[::-1]
    rounding, state = Rounding(levels, model.densities), State(level_sides(height, width), 3, 9)
    state.plane = state.low_plane = 3
    values = np.concatenate([quantise(level).reshape(-1) for level in levels])
    state.low[:] = at_plane(quantise(low), 3)
    state.value[:] = at_plane(values, 3)
    state.row[:] = 45
    rounding.begin_plane(0.1)
    outlook = Outlook(state, np.zeros(state.count, bool), low_band(state) - low, (height, width), serially)
    found = reconstruct(state, model, (height, width), synthesis=False)
    exact = np.square(found - synthesise(low, details, height, width)).sum(dtype=np.float64)
    assert squared_error(rounding, outlook) == pytest.approx(exact, rel=1e-3)


def test_a_photograph_is_better_at_equal_bytes_and_so_are_its_prefixes(
    model: CodecModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = Image.fromarray(photograph(260, 200))
    sizes, found = (2500, 6000, 12000), []
    for coded in (encode, functools.partial(encode_plainly, monkeypatch=monkeypatch)):
        files = [coded(picture, weights=model, nbytes=size) for size in sizes]
        files += [truncate(files[-1], nbytes=size) for size in sizes[:-1]]
        found.append(np.array([psnr(picture, decode(data, weights=model)) for data in files]))
    gains = found[0] - found[1]
    assert gains[:3].min() > 0.03
    assert gains[:3].mean() > 0.06
    assert (gains[3:] > -0.01).all()


def test_nothing_is_lost_at_quality_100(model: CodecModel, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.fromarray(photograph(200, 160))
    options: Any = {"weights": model, "quality": 100}
    own, plain = encode(picture, **options), encode_plainly(picture, monkeypatch, **options)
    found = [psnr(picture, decode(data, weights=model)) for data in (own, plain)]
    assert found[0] > found[1] + 0.03
    assert len(own) < 1.01 * len(plain)


DRAWN = (
    "checks-1px",
    "checks-3px",
    "checks-8px",
    "stripes-3px-slanted",
    "dots",
    "ramp",
    "few-colours",
    "patch",
)


@pytest.mark.parametrize("kind", DRAWN)
def test_drawn_pictures_are_coded_plainly(
    kind: str, model: CodecModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = Image.fromarray(KINDS[kind](200, 160))
    options: Any = {"weights": model, "bpp": 0.7}
    assert encode(picture, **options) == encode_plainly(picture, monkeypatch, **options)


def test_what_is_drawn() -> None:
    rng = np.random.default_rng(5)
    for count in (2000, 5000, 9000, 200_000):
        assert not guide.is_drawn(rng.laplace(0, 5, count).astype(np.float32))
        assert guide.is_drawn(rng.integers(-150, 150, count).astype(np.float32))
        assert guide.is_drawn(np.zeros(count, np.float32))


@pytest.mark.parametrize("kind", ["photograph", "noise", "text", "checks-1px"])
def test_targets_near_the_last_plane_are_met(kind: str, model: CodecModel) -> None:
    samples = KINDS[kind](160, 120)
    picture = Image.fromarray(samples)
    most = min(psnr(samples, decode(encode(picture, weights=model, quality=100), weights=model)), 55)
    for less in (0.15, 0.3, 0.7, 1.5, 3.0, 6.0):
        target = most - less
        assert psnr(samples, decode(encode(picture, weights=model, psnr=target), weights=model)) >= target
