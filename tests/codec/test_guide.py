"""The encoder's decisions: exact trits, and estimates from a sample of little memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ctc_codec import CodecModel, encode
from ctc_codec.codec.guide import Original, PictureGuide, Target, sample_of
from ctc_codec.codec.picture import analysed, low_band
from ctc_codec.planes.cells import BLANK_LEVELS, active_cells, positions
from ctc_codec.planes.state import State
from ctc_codec.planes.trits import MAX_PLANES, UNIT, at_plane, quantise, unit
from ctc_codec.synthesis.means import offsets
from ctc_codec.transform.lifting import level_sides
from support.pictures import checks, grey_noise, photograph, stripes


def guide_of(low: Any, details: Any, model: CodecModel) -> PictureGuide:
    size = 2 * details[0].shape[1], 2 * details[0].shape[2]
    original = Original(low, list(details), size, 3 * low.size, 1.0, lambda _: 0.0)
    return PictureGuide(model, original, 5, Target(), lambda: 0)


def values_of(details: Any) -> Any:
    """Values at plane 0 as a state has them."""
    return np.concatenate([quantise(level).reshape(-1) for level in details[::-1]])


def walk_at(plane: int, sides: Any, values: Any, known: Any) -> Any:
    """What a guide sees of a walk that knows some of the trits of a plane."""
    state = State(sides, 3, MAX_PLANES)
    state.plane = plane
    state.value[:] = np.where(known, at_plane(values, plane), 3 * at_plane(values, plane + 1))
    state.known[:] = known
    rows = np.random.default_rng(1).integers(0, 8192, state.count)
    state.row[:] = rows
    return SimpleNamespace(state=state, classes=np.where(known, 0, 1 + rows % 200).astype(np.uint8), slices=0)


@pytest.mark.parametrize("plane", range(MAX_PLANES))
def test_trits_are_those_of_the_planes(plane: int, model: CodecModel) -> None:
    """Of values up to the largest that there are."""
    rng, sides = np.random.default_rng(plane), level_sides(96, 64)
    details = [
        (rng.normal(size=(9, *side)) * 10.0 ** rng.uniform(0, 5, (9, *side))).astype(np.float32)
        for side in sides
    ]
    guide, values = guide_of(np.zeros((3, 2, 1), np.float32), details, model), values_of(details)
    assert guide.planes == MAX_PLANES
    walk = walk_at(plane, sides, values, np.zeros(len(values), bool))
    elements = rng.permutation(len(values))[:6400].reshape(100, 64)
    trits = at_plane(values, plane) - 3 * at_plane(values, plane + 1)
    assert set(trits.tolist()) == {-1, 0, 1}
    assert np.array_equal(guide.trits(walk, elements), trits[elements] + 1)


def test_levels_wake_at_the_plane_of_their_largest_value(model: CodecModel) -> None:
    details = [np.zeros((9, *side), np.float32) for side in level_sides(64, 64)]
    details[0][8, -1, -1] = -4.6 * UNIT  # 5 is 1 -1 -1 in balanced ternary
    details[3][0, 0, 0] = 1.4 * UNIT
    guide = guide_of(np.zeros((3, 1, 1), np.float32), details, model)
    assert guide.planes == 3
    assert [guide.begin_plane(plane) for plane in range(4)] == [0b1001, 1, 1, 0]


@pytest.mark.parametrize("count", [1, 9, 20_000, 40_000, 1_000_003])
def test_a_sample_is_spread_out(count: int) -> None:
    sample = sample_of(count)
    assert (np.diff(sample) > 0).all()
    assert sample[0] >= 0
    assert sample[-1] < count
    if count < 32768:
        assert len(sample) == count
        return
    assert min(count, 16000) <= len(sample) < 0.6 * count
    tenths = np.bincount(sample * 10 // count, minlength=10)
    assert tenths.max() < 1.1 * tenths.min()
    for period in (64, 96, 512):  # of a pattern
        phases = np.bincount(sample % period, minlength=period)
        assert phases.max() < 2 * phases.min()


def test_errors_and_bits_of_the_sample_are_near_those_of_all(model: CodecModel) -> None:
    samples = photograph(700, 500)
    low, details = analysed(samples, False, model)
    guide, values = guide_of(low, details, model), values_of(details)
    known = np.random.default_rng(2).random(len(values)) < 0.3
    true = np.concatenate([level.reshape(-1) for level in details[::-1]])
    for plane in (0, 1, 3):
        walk = walk_at(plane, level_sides(500, 700), values, known)
        state = walk.state
        means = state.value + offsets(state.value, state.known, state.row, model.densities.means)
        exact = (
            np.square(true - means * np.float32(unit(plane))).sum() + np.square(low - low_band(state)).sum()
        )
        assert guide.error(walk) == pytest.approx(exact / (3 * low.size), rel=0.03)
        # The first slice takes about half of the bits.
        bits = model.densities.bits.take(state.row)
        taken = bits[walk.classes >= guide.threshold(walk, 0)].sum() / bits[~known].sum()
        assert 0.47 < taken < 0.55


def test_a_guide_keeps_little_of_a_picture(model: CodecModel) -> None:
    low, details = analysed(photograph(1500, 1100), False, model)
    guide = guide_of(low, details, model)
    everything = [*vars(guide).values(), *vars(guide._rounding).values()]
    kept = sum(value.nbytes for value in everything if isinstance(value, np.ndarray))
    assert kept < 5 * sum(level.size for level in details)
    assert not guide._original.details


def _skipped(pixels: Any, model: CodecModel, monkeypatch: pytest.MonkeyPatch) -> dict[tuple[int, int], bool]:
    """Whether blank cells are skipped, by level and plane in which some of them are not all zero."""
    found = {}
    skips = PictureGuide.skips

    def noted(self: PictureGuide, walk: Any, plane: int, awake: int) -> int:
        mask = skips(self, walk, plane, awake)
        for level in range(BLANK_LEVELS):
            height, width = walk.state.sides[level]
            blank = ~positions(active_cells(walk.state, level), height, width)
            values = at_plane(self._rounding.values[walk.state.spans[level]].astype(np.int32), plane)
            if values.reshape(-1, height, width)[:, blank].any():
                found[level, plane] = bool(mask >> level & 1)
        return mask

    with monkeypatch.context() as patch:
        patch.setattr(PictureGuide, "skips", noted)
        encode(Image.fromarray(pixels), weights=model, quality=95)
    return found


def test_blank_cells_are_skipped_in_photographs_and_not_where_patterns_begin(
    model: CodecModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = np.full((200, 300, 3), 90, np.uint8)
    empty[60:140, 100:200] = photograph(100, 80)
    assert any(_skipped(empty, model, monkeypatch).values())
    for pattern in (checks(1, 20)(200, 160), stripes(1, 1, 0)(200, 160), grey_noise(200, 160)):
        found = _skipped(pattern, model, monkeypatch)
        first = max((plane for level, plane in found if level == 0), default=None)
        assert first is not None
        assert not found[0, first]


def test_patterns_take_no_more_bytes_for_it(model: CodecModel, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.fromarray(checks(1, 20)(200, 160))
    own = encode(picture, weights=model)
    monkeypatch.setattr(PictureGuide, "skips", lambda self, walk, plane, awake: awake & 3)
    assert len(own) < 0.6 * len(encode(picture, weights=model))
