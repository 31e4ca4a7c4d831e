"""Weights: bounds of what is exact, known answers, fingerprints."""

from __future__ import annotations

import functools
import itertools
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from ctc_codec import CodecModel, WeightsError, load_model
from ctc_codec.codec.model import WEIGHTS_FORMAT, default_weights, exact_fingerprint, part
from ctc_codec.crr import density
from ctc_codec.crr.network import check_bounds
from ctc_codec.crr.runtime import Session

Arrays = dict[str, np.ndarray]


@functools.cache
def _arrays() -> Arrays:
    return load_file(default_weights())


def _known_answer() -> str:
    with safe_open(default_weights(), framework="numpy") as file:
        return str(file.metadata()["known_answer"])


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


@pytest.mark.parametrize("network", range(3))
@pytest.mark.parametrize("picture", range(3))
@pytest.mark.parametrize("place", [(0, 0, 0), (8, 5, 9), (17, 10, 18), (23, 0, 18)])
def test_a_kernel_that_is_off_by_one_in_one_place_is_refused(
    network: int, picture: int, place: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    right, calls = Session.run, itertools.count()

    def wrong(session: Session, inputs: np.ndarray) -> np.ndarray:
        result = right(session, inputs)
        if next(calls) == 3 * network + picture:
            result = result.copy()
            result[(0, *place)] ^= 1
        return result

    monkeypatch.setattr(Session, "run", wrong)
    with pytest.raises(WeightsError, match="known-answer"):
        CodecModel(_arrays(), _known_answer(), 1)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("exact.density.frequencies", _set((5, 1), 7), "add up"),
        ("exact.density.classes", _set((9,), 0), "class is 0"),
        ("exact.density.static", _set((0, 0, 0, 0), 64), "scales do not fit"),
        ("exact.density.blank", _set((0, 0, 0), 64), "scales of blank cells do not fit"),
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


def test_a_zero_cost_table_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """Its sums over groups would be looked up beyond the end of the table."""
    arrays = _arrays()
    quiet = arrays["exact.density.frequencies"][:, 1].astype(int) > 65536 - density.QUIET
    cost = arrays["exact.density.zero_cost"].copy()
    for value in (1 << 10, 1 << 14, (1 << 16) - 1):
        cost[np.flatnonzero(quiet)[0]] = value
        with pytest.raises(ValueError, match="far enough"):
            density.Densities.of({**arrays, "exact.density.zero_cost": cost})


def test_a_loaded_model_is_pickled_as_its_file() -> None:
    model = load_model()
    assert pickle.loads(pickle.dumps(model)) is model
    other = CodecModel(_arrays(), None)
    with pytest.raises(TypeError, match="load_model"):
        pickle.dumps(other)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"path": 5}, TypeError, "path must be a str or a path, not int"),
        ({"path": "."}, WeightsError, "no such weights file"),
        ({"threads": 0}, ValueError, "threads must be at least 1, not 0"),
        ({"threads": 1.5}, TypeError, "threads must be a whole number, not float"),
    ],
)
def test_wrong_arguments_of_load_model_are_named(
    arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        load_model(**arguments)
