"""The loop of encoder and decoder: which elements are sent, and what is looked at before."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ctc_codec import CodecModel, Decoder, Header, encode, load_model
from ctc_codec.codec.walk import Walk, Writer, picture_bytes, run
from ctc_codec.crr import density
from ctc_codec.crr.context import _Known
from ctc_codec.crr.inputs import Level, inputs
from ctc_codec.planes.cells import active_cells, positions
from ctc_codec.planes.order import GROUP, Tile, demoted
from ctc_codec.planes.trits import at_plane
from ctc_codec.transform.lifting import LEVELS
from support.coding import PlainGuide, empty_state, header_of
from support.pictures import photograph

# --- what is sent -----------------------------------------------------------------------------------


def test_every_element_is_sent_once_a_plane(model: CodecModel) -> None:
    """Alone, or with a group of quiet ones up to the first trit other than zero."""
    size, planes = (70, 90), 4
    state, rng = empty_state(size, 3, planes), np.random.default_rng(6)
    values = (rng.normal(0, 9, state.count) * (rng.random(state.count) < 0.05)).astype(np.int32).clip(-40, 40)
    low_band = rng.integers(-40, 41, state.low.shape).astype(np.int32)
    guide = PlainGuide(values, low_band)
    walk = Walk(model, header_of(size, 3, planes), Writer(), guide)
    run(walk)
    assert np.array_equal(walk.state.value, values)
    assert np.array_equal(walk.state.low, low_band)
    assert walk.state.known.all()
    assert walk.state.low_known.all()
    assert walk.slices == 8
    groups_seen = again = 0
    for plane in range(planes):
        alone: list[int] = []
        grouped: list[int] = []
        for elements in (elements for at, elements in guide.sent if at == plane):
            if elements.ndim == 1:
                alone += elements.tolist()
                continue
            assert elements.shape[1] == GROUP
            trits = at_plane(values, plane)[elements] - 3 * at_plane(values, plane + 1)[elements]
            if trits.any(axis=1).all():  # asked for the second time, where they are not zero
                first = (trits != 0).argmax(axis=1)
                grouped += elements[np.arange(GROUP) <= first[:, None]].tolist()
                again += len(elements)
            else:
                grouped += elements[~trits.any(axis=1)].reshape(-1).tolist()
                groups_seen += len(elements)
        assert sorted(alone + grouped) == list(range(len(values)))
    assert groups_seen > 100
    assert again > 0


def test_one_tile_is_the_same_as_no_tiles(model: CodecModel) -> None:
    """The short cut for pictures of one tile gives the words that going by tiles does."""
    words = set()
    for cut in (False, True):
        state, writer = empty_state((40, 50), 3, 3), Writer()
        values = np.random.default_rng(8).integers(-13, 14, state.count).astype(np.int32)
        guide = PlainGuide(values, np.zeros(state.low.shape, np.int32))
        walk = Walk(model, header_of((40, 50), 3, 3), writer, guide)
        if cut:  # a second tile, which holds nothing
            walk._tiles[0] = replace(walk._tiles[0], whole=False)
            walk._tiles.append(Tile([(slice(0, 0), slice(0, 0))] * LEVELS, False))
        run(walk)
        words.add(writer.encoder.finish())
    assert len(words) == 1


# --- what is looked at ------------------------------------------------------------------------------


def _walk(model: CodecModel, size: tuple[int, int], colours: int, most: int, seed: int = 1) -> Walk:
    """Amid plane 2, half of the elements known, level 3 asleep, much of the finest levels blank."""
    model = copy.copy(model)
    model.context = copy.copy(model.context)
    model.context.most = most
    walk = Walk(model, header_of(size, colours, 7), Writer())
    state, rng = walk.state, np.random.default_rng(seed)
    state.low[:] = rng.integers(-900, 900, state.low.shape)
    state.value[:] = (rng.standard_cauchy(state.count) * 2).clip(-400, 400).astype(np.int16)
    for level in range(3):
        state.level(state.value, level)[:, :, size[1] >> level + 2 :] = 0
    walk._skips = 0b000011
    walk._begin_plane(2, 0b110111, 0)
    half = np.flatnonzero((rng.random(state.count) < 0.5) & ~state.known & (state.value != 0))
    state.learn(half, rng.integers(-1, 2, len(half)).astype(np.int32))
    walk.classes[half] = 0
    return walk


def _looked(
    model: CodecModel, size: tuple[int, int], colours: int, most: int
) -> tuple[np.ndarray, np.ndarray]:
    walk = _walk(model, size, colours, most)
    before = walk.state.row.copy()
    walk.look(0b110111)
    changed = walk.state.row != before
    assert changed.mean() > 0.1
    assert not changed[walk.state.known].any()
    return walk.state.row.copy(), walk.classes.copy()


@pytest.mark.parametrize("colours", [1, 3])
def test_densities_are_the_same_for_every_window_and_number_of_threads(
    colours: int, model: CodecModel
) -> None:
    for size, sizes in (((130, 150), (64, 500, 5000)), ((300, 280), (4096, 20000))):
        row, classes = _looked(model, size, colours, 1 << 20)
        for threads in (1, 2, 3):
            other = load_model(threads=threads)
            for most in sizes:
                found = _looked(other, size, colours, most)
                assert np.array_equal(found[0], row), (size, threads, most)
                assert np.array_equal(found[1], classes), (size, threads, most)


@pytest.mark.parametrize("colours", [1, 3])
def test_densities_now_are_those_of_one_more_look(colours: int, model: CodecModel) -> None:
    """New densities for all elements of levels that are awake, without a change of what is coded."""
    walk = _walk(model, (130, 150), colours, 512)
    state, classes = walk.state.copy(), walk.classes.copy()
    rows = walk.rows_now()
    assert np.array_equal(walk.state.row, state.row)
    assert np.array_equal(walk.classes, classes)
    assert np.array_equal(state.level(rows, 3), state.level(state.row, 3))
    walk.look(0b110111)
    unknown = ~state.known
    assert np.array_equal(rows[unknown], walk.state.row[unknown])
    # A known element's density is told as if its trit were not known: from the value at the plane above.
    view, known = state.level(state.value, 5), state.level(state.known, 5)
    context = _Known(np.clip(state.low, -(1 << 17), 1 << 17) << np.int32(4))
    level = Level(5, 2, context, view, known, None, state.level(state.value, 4))
    sides = slice(0, view.shape[1]), slice(0, view.shape[2])
    centre, scale = model.context.networks[5].predict(inputs(level, *sides, model.context.tables))
    above = 3 * ((view.astype(int) + 1) // 3)
    right = density.rows_of(above.astype(np.int16), centre[:: 3 // colours], scale[:: 3 // colours])
    assert np.array_equal(state.level(rows, 5), right)


@pytest.mark.parametrize("colours", [1, 3])
def test_blank_cells_keep_what_the_table_says(colours: int, model: CodecModel) -> None:
    walk = _walk(model, (130, 150), colours, 512)
    state = walk.state
    walk._skips = 0b000011
    walk._begin_plane(1, 0b000011, 0b000011)
    walk.look(0b000011)
    for level in range(2):
        height, width = state.sides[level]
        blank = ~positions(active_cells(state, level), height, width)
        assert 0.1 < blank.mean() < 0.9
        rows = state.level(state.row, level)
        scales = model.densities.blank[1, level, :: 3 // colours]
        assert (rows[:, blank] == scales[:, None]).all()
        assert (rows[:, ~blank] != scales[:, None]).mean() > 0.5
        classes = model.densities.classes.take(scales)
        every = np.broadcast_to(classes[:, None, None], rows.shape)
        right = demoted(every, slice(0, height), slice(0, width))
        assert np.array_equal(state.level(walk.classes, level)[:, blank], right[:, blank])


# --- the first picture ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (120, 88)])
def test_the_smallest_picture_is_the_first_with_a_low_band(size: tuple[int, int], model: CodecModel) -> None:
    data = encode(Image.fromarray(photograph(*size)), weights=model)
    least = picture_bytes(data)
    assert least is not None
    for count, held in ((least - 1, False), (least, True)):
        decoder = Decoder(weights=model)
        decoder.feed(data[:count])
        assert decoder.latent().low_held == held
        assert (picture_bytes(data[:count]) == least) == held


def test_no_picture_is_looked_for_in_a_few_bytes_of_many_pixels() -> None:
    data = Header(2**24 - 1, 2**24 - 1, b"1234", code_bytes=1000).to_bytes() + bytes(20)
    assert picture_bytes(data) is None
