"""CRR: densities from integers alone, the same for every window and number of threads, or a refusal."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from ctc_codec import CodecModel, WeightsError, decode, encode, load_model
from ctc_codec.codec import walk as stream
from ctc_codec.codec.model import WEIGHTS_FORMAT, default_weights, exact_fingerprint, part
from ctc_codec.codec.walk import Walk, Writer
from ctc_codec.crr import density
from ctc_codec.crr.inputs import INPUTS, ZERO_POINT, InputTables, Level, inputs, reconstruction
from ctc_codec.crr.network import SUM_LIMIT, WEIGHT_LIMIT, check_bounds
from ctc_codec.crr.runtime import spans
from ctc_codec.planes.state import State
from ctc_codec.planes.trits import VALUE_LIMIT
from ctc_codec.transform.lifting import LEVELS
from reference import look as slow
from reference.state import State as SlowState
from reference.weights import Weights
from support.pictures import photograph

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def model() -> CodecModel:
    return load_model(threads=1)


@functools.cache
def _arrays() -> Arrays:
    return load_file(default_weights())


def _known_answer() -> str:
    from safetensors import safe_open

    with safe_open(default_weights(), framework="numpy") as file:
        return str(file.metadata()["known_answer"])


# --- bounds and known answers -----------------------------------------------------------------------


def _layer(**changes: Any) -> Arrays:
    layer = {
        "a.weight": np.full((2, 3, 3, 3), WEIGHT_LIMIT, np.int8),
        "a.bias": np.array([1000, -1000], np.int32),
        "a.scale": np.array([2**-7, 2**-24], np.float32),
        "a.zero": np.zeros(2, np.int8),
        "graph": np.zeros(1, np.uint8),
    }
    return layer | {f"a.{name}": value for name, value in changes.items()}


def test_layers_within_the_bounds_are_taken() -> None:
    check_bounds(_layer())
    room = SUM_LIMIT - 27 * WEIGHT_LIMIT * 128 - 1
    check_bounds(_layer(bias=np.array([room, -room], np.int32)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": np.full((2, 3, 3, 3), -WEIGHT_LIMIT - 1, np.int8)}, "larger than 63"),
        ({"weight": np.full((2, 3, 3, 3), -128, np.int8)}, "larger than 63"),
        ({"weight": np.ones((2, 3, 3, 3), np.int16)}, "not a kernel"),
        ({"weight": np.ones((2, 3), np.int8)}, "not a kernel"),
        ({"weight": np.full((2, 233, 3, 3), WEIGHT_LIMIT, np.int8)}, "exact range"),
        ({"bias": np.array([0, SUM_LIMIT - 27 * WEIGHT_LIMIT * 128], np.int32)}, "exact range"),
        ({"bias": np.array([-(1 << 31), 0], np.int32)}, "exact range"),
        ({"bias": np.zeros(3, np.int32)}, "bias does not fit"),
        ({"bias": np.zeros(2, np.int64)}, "bias does not fit"),
        ({"scale": np.array([0.3, 1], np.float32)}, "no power of two"),
        ({"scale": np.array([-0.5, 1], np.float32)}, "no power of two"),
        ({"scale": np.array([0, 1], np.float32)}, "no power of two"),
        ({"scale": np.array([np.nan, np.inf], np.float32)}, "no power of two"),
        ({"scale": np.array([2.0**-30, 1], np.float32)}, "no power of two"),
        ({"scale": np.ones(2, np.float64)}, "scales do not fit"),
        ({"other": np.ones(2, np.int8)}, "unknown kind"),
    ],
)
def test_layers_that_may_not_be_exact_are_refused(changes: Arrays, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        check_bounds(_layer(**changes))


@pytest.mark.parametrize("missing", ["bias", "scale"])
def test_layers_with_parts_missing_are_refused(missing: str) -> None:
    layer = _layer()
    del layer[f"a.{missing}"]
    with pytest.raises(WeightsError, match="fit"):
        check_bounds(layer)


def test_the_released_networks_are_within_the_bounds() -> None:
    for group in range(3):
        tensors = part(_arrays(), f"exact.crr.{group}.")
        assert tensors.pop("halo").tolist() == [3]
        check_bounds(tensors)


def _changed(name: str, change: Callable[[np.ndarray], None]) -> Arrays:
    array = _arrays()[name].copy()
    change(array)
    return {**_arrays(), name: array}


def _set(at: tuple[int, ...], value: int) -> Callable[[np.ndarray], None]:
    def change(array: np.ndarray) -> None:
        assert array[at] != value
        array[at] = value

    return change


def test_another_known_answer_is_refused(tmp_path: Path) -> None:
    """As a machine would have that computes otherwise: weights that differ in one place by one."""
    answer = _known_answer()
    assert CodecModel(_arrays(), answer, 1).known_answer == answer
    for name in ("enter", "b.1.a", "leave"):
        name = f"exact.crr.1.{name}.weight"
        arrays = _changed(name, lambda array: array.reshape(-1).__setitem__(7, array.reshape(-1)[7] // 2 + 1))
        with pytest.raises(WeightsError, match="known-answer"):
            CodecModel(arrays, answer, 1)
    path = tmp_path / "other.safetensors"
    save_file(_arrays(), path, {"format": WEIGHTS_FORMAT, "known_answer": "0" * 64})
    with pytest.raises(WeightsError, match="known-answer"):
        load_model(path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("exact.density.frequencies", _set((5, 1), 7), "add up"),
        ("exact.density.classes", _set((9,), 0), "class is 0"),
        ("exact.density.static", _set((0, 0, 0, 0), 64), "scales do not fit"),
        ("exact.density.group", _set((3,), 0), "group"),
        ("exact.inputs.log", _set((4,), -1), "input table"),
        ("exact.crr.groups", _set((0,), 9), "halo"),
        ("exact.crr.0.halo", _set((0,), 65), "halo"),
        ("exact.crr.2.leave.weight", _set((0, 0, 0, 0), -64), "larger than 63"),
        ("means", _set((0, 0), 2), "out of their intervals"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_broken_tensors_are_refused(
    name: str, change: Callable[[np.ndarray], None], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "broken.safetensors"
    save_file(_changed(name, change), path, {"format": WEIGHTS_FORMAT, "known_answer": _known_answer()})
    with pytest.raises(WeightsError, match=message):
        load_model(path)


def test_the_fingerprint_is_that_of_all_that_is_exact_and_of_nothing_else() -> None:
    own = exact_fingerprint(_arrays())
    assert exact_fingerprint(_changed("means", _set((0, 0), 1))) == own
    for name in _arrays():
        if name.startswith("exact."):
            flip = _arrays()[name].copy()
            flip.view(np.uint8).reshape(-1)[-1] ^= 1
            assert exact_fingerprint({**_arrays(), name: flip}) != own, name


# --- networks ---------------------------------------------------------------------------------------


def _noise(height: int, width: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (1, INPUTS, height, width)).astype(np.uint8)


def _grid(seen: np.ndarray) -> tuple[tuple[tuple[int, ...], ...], ...]:
    signed = (seen[0].astype(int) - ZERO_POINT).tolist()
    return tuple(tuple(tuple(line) for line in plane) for plane in signed)


@pytest.mark.parametrize("group", [0, 1, 2])
def test_networks_compute_what_python_integers_do(group: int, model: CodecModel) -> None:
    """Also where every sum is as large as it can be, which is where kernels that saturate are wrong."""
    network = model.networks[group]
    weights = Weights(default_weights())
    extreme = np.where(_noise(5, 6, 2) & 1, np.uint8(255), np.uint8(0))
    sign = np.sign(_arrays()[f"exact.crr.{group}.enter.weight"][3].transpose(0, 1, 2))
    worst = np.zeros((1, INPUTS, 3, 3), np.uint8)
    worst[0] = np.where(sign > 0, 255, 0)
    for seen in (_noise(6, 5), extreme, np.full_like(extreme, 255), np.zeros_like(extreme), worst):
        centre, scale = network.look(seen)
        expected = slow.network(_grid(seen), group, weights)
        assert (centre.dtype, scale.dtype) == (np.int8, np.uint8)
        assert centre.tolist() == expected[0]
        assert scale.tolist() == expected[1]


@pytest.mark.filterwarnings(
    "ignore:.*fork:DeprecationWarning"
)  # from Python 3.12 on, where there are threads
def test_a_network_is_made_again_in_a_forked_process(model: CodecModel) -> None:
    seen = _noise(9, 9)
    expected = model.networks[0].look(seen)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        found = model.networks[0].look(seen)
        os.write(writer, bytes([all(map(np.array_equal, found, expected))]))
        os._exit(0)
    os.close(writer)
    answer = os.read(reader, 1)
    os.close(reader)
    assert os.waitpid(child, 0)[1] == 0
    assert answer == b"\1"


@pytest.mark.parametrize("length", [1, 2, 8, 64, 65, 1000])
@pytest.mark.parametrize("window", [1, 7, 64, 2000])
def test_windows_cover_a_side_once(length: int, window: int) -> None:
    seen = np.zeros(length, int)
    for core, outer in spans(length, 3, window):
        assert 0 < core.stop - core.start <= window
        assert (outer.start, outer.stop) == (max(core.start - 3, 0), min(core.stop + 3, length))
        seen[core] += 1
    assert (seen == 1).all()


# --- densities of a walk ----------------------------------------------------------------------------


def _walk(model: CodecModel, size: tuple[int, int], colours: int, window: int, seed: int = 1) -> Walk:
    """Amid plane 2, half of the elements known, level 3 asleep."""
    walk = Walk(model, size, colours, 7, Writer(), window=window)
    state, rng = walk.state, np.random.default_rng(seed)
    state.low[:] = rng.integers(-900, 900, state.low.shape)
    state.value[:] = (rng.standard_cauchy(state.count) * 2).clip(-400, 400).astype(np.int16)
    walk._begin_plane(2, 0b110111, 0)
    half = np.flatnonzero((rng.random(state.count) < 0.5) & ~state.known)
    state.learn(half, rng.integers(-1, 2, len(half)).astype(np.int32))
    walk.classes[half] = 0
    return walk


def _looked(
    model: CodecModel, size: tuple[int, int], colours: int, window: int
) -> tuple[np.ndarray, np.ndarray]:
    walk = _walk(model, size, colours, window)
    before = walk.state.row.copy()
    walk.look(0b110111)
    changed = walk.state.row != before
    assert changed.mean() > 0.2
    assert not changed[walk.state.known].any()
    return walk.state.row.copy(), walk.classes.copy()


@pytest.mark.parametrize("colours", [1, 3])
def test_densities_are_the_same_for_every_window_and_number_of_threads(
    colours: int, model: CodecModel
) -> None:
    for size, windows in (((130, 150), (8, 13, 64, 512)), ((300, 280), (64, 140, 512))):
        row, classes = _looked(model, size, colours, 4096)
        for threads in (1, 2, 3):
            other = load_model(threads=threads)
            for window in windows:
                found = _looked(other, size, colours, window)
                assert np.array_equal(found[0], row), (size, threads, window)
                assert np.array_equal(found[1], classes), (size, threads, window)


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
    context = np.clip(state.low, -(1 << 17), 1 << 17) << np.int32(4)
    level = Level(5, 2, context, view, known, None, state.level(state.value, 4))
    sides = slice(0, view.shape[1]), slice(0, view.shape[2])
    centre, scale = model.networks[5].look(inputs(level, *sides, model.input_tables))
    above = 3 * ((view.astype(int) + 1) // 3)
    right = density.rows_of(above.astype(np.int16), centre[:: 3 // colours], scale[:: 3 // colours])
    assert np.array_equal(state.level(rows, 5), right)


def test_many_threads_that_share_a_model_look_at_the_same(model: CodecModel) -> None:
    expected = _looked(model, (220, 230), 3, 512)[0]
    shared = load_model(threads=2)
    with ThreadPoolExecutor(6) as pool:
        rows = list(pool.map(lambda _: _looked(shared, (220, 230), 3, 512)[0], range(12)))
    assert all(np.array_equal(row, expected) for row in rows)


def test_a_file_is_the_same_whatever_the_threads() -> None:
    image = Image.fromarray(photograph(310, 260))
    files = {encode(image, weights=load_model(threads=threads)) for threads in (1, 2, 4)}
    assert len(files) == 1
    assert decode(files.pop(), weights=load_model(threads=3)).size == image.size


# --- inputs -----------------------------------------------------------------------------------------


def _slow_state(state: State, height: int, width: int) -> SlowState:
    out = SlowState(height, width, state.colours, 1)
    out.value, out.known = state.value.tolist(), state.known.tolist()
    out.low, out.plane = state.low.reshape(-1).tolist(), state.plane
    return out


@pytest.mark.parametrize("largest", [1, 3, 40, 1300, VALUE_LIMIT])
@pytest.mark.parametrize(("height", "width", "colours"), [(1, 1, 3), (13, 7, 1), (20, 33, 3)])
def test_what_is_looked_at_is_what_python_integers_tell(
    largest: int, height: int, width: int, colours: int, model: CodecModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of values of any size, in windows: inputs of all levels with their context."""
    seen: list[tuple[int, slice, slice, np.ndarray]] = []

    def recorded(level: Level, rows: slice, columns: slice, tables: InputTables) -> np.ndarray:
        found = inputs(level, rows, columns, tables)
        seen.append((level.number, rows, columns, found.copy()))
        return found

    monkeypatch.setattr(stream, "inputs", recorded)
    walk = Walk(model, (height, width), colours, 9, Writer(), window=5)
    state, rng = walk.state, np.random.default_rng(largest + width)
    state.value[:] = rng.integers(-largest, largest + 1, state.count)
    state.known[:] = rng.random(state.count) < 0.5
    state.low[:] = rng.integers(-largest, largest + 1, state.low.shape) * (3**5 if largest > 2000 else 1)
    state.plane = 4
    walk.look(63)
    weights, slow_state = Weights(default_weights()), _slow_state(state, height, width)
    whole = [np.array(slow.inputs(slow_state, level, weights)) + ZERO_POINT for level in range(LEVELS)]
    assert {level for level, *_ in seen} == set(range(LEVELS))
    assert len(seen) > LEVELS or height == 1
    for level, rows, columns, found in seen:
        assert found.dtype == np.uint8
        assert np.array_equal(found[0], whole[level][:, rows, columns])


def test_reconstruction_is_drawn_to_zero() -> None:
    values = np.array([0, 1, -1, 2, -2, 3, -3, 6, 9, VALUE_LIMIT], np.int16)
    known = reconstruction(values, np.ones(10, bool))
    assert known.tolist() == [0, 14, -14, 31, -31, 48, -48, 96, 144, 16 * VALUE_LIMIT]
    thirds = reconstruction(values[[0, 5, 6, 7, 8]], np.zeros(5, bool))
    assert thirds.tolist() == [0, 48 - 5, -(48 - 5), 96 - 2, 144 - 1]


# --- densities --------------------------------------------------------------------------------------


def test_rows_are_distance_scale_and_side() -> None:
    rng = np.random.default_rng(1)
    value = np.concatenate([rng.integers(-30, 31, 4000), [VALUE_LIMIT, -VALUE_LIMIT, 0, 0]]).astype(np.int16)
    centre = rng.integers(-128, 128, len(value)).astype(np.int8)
    scale = rng.integers(0, 64, len(value)).astype(np.uint8)
    rows = density.rows_of(value, centre, scale)
    for v, c, s, row in zip(*(a.tolist() for a in (value, centre, scale, rows)), strict=True):
        distance = 16 * v - c
        assert row == (distance < 0) * density.SIDE + min(abs(distance), 127) * 64 + s


def test_frequencies_and_means_mirror_those_of_the_other_side(model: CodecModel) -> None:
    tables = model.densities
    one, other = np.split(np.arange(2 * density.ROWS), 2)
    assert np.array_equal(tables.frequencies[one], tables.frequencies[other][:, ::-1])
    for case, mirrored in enumerate((0, 3, 2, 1)):
        assert np.array_equal(tables.means[case][one], -tables.means[mirrored][other])
    for name in ("classes", "quiet", "zero_cost"):
        assert np.array_equal(getattr(tables, name)[one], getattr(tables, name)[other])


def test_tables_are_what_their_frequencies_say(model: CodecModel) -> None:
    """Least frequencies, costs of zeros, groups that are all zero, bits; means inside their intervals."""
    tables = model.densities
    p = tables.frequencies / 65536
    assert tables.frequencies.min() >= 16
    assert tables.bits == pytest.approx(-(p * np.log2(p)).sum(axis=1), abs=1e-4)
    quiet = tables.quiet
    assert np.array_equal(quiet, p[:, 0] + p[:, 2] < density.QUIET / 65536)
    assert quiet.any()
    # Groups have no least frequencies: a zero costs what its trit would, or less where that has one.
    ideal = -65536 * np.log2(p[quiet, 1])
    free = tables.frequencies[quiet][:, (0, 2)].min(axis=1) > 16
    assert np.abs(tables.zero_cost[quiet] - ideal)[free].max() <= 3
    assert (tables.zero_cost[quiet] <= ideal + 3).all()
    assert tables.zero_cost[quiet].min() >= 1
    assert not tables.zero_cost[~quiet].any()
    steps = np.arange(len(tables.group)) << density.GROUP_STEP_BITS
    ideal = np.clip(65536 * 2 ** (-steps / 65536), 64, 65536 - 64)
    assert np.abs(tables.group - ideal).max() <= 0.5001
    assert np.abs(tables.means[0]).max() <= 1.5
    assert np.abs(tables.means[1:]).max() <= 0.5


def test_a_zero_cost_table_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """Its sums over groups would be looked up beyond the end of the table."""
    arrays = _arrays()
    quiet = arrays["exact.density.frequencies"][:, 1].astype(int) > 65536 - density.QUIET
    cost = arrays["exact.density.zero_cost"].copy()
    for value in (1 << 10, 1 << 14, (1 << 16) - 1):
        cost[np.flatnonzero(quiet)[0]] = value
        with pytest.raises(ValueError, match="far enough"):
            density.Densities.of({**arrays, "exact.density.zero_cost": cost})
