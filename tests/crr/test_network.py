"""Networks in integers: bounds that keep them exact, and the same results as Python's integers."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from ctc_codec import CodecModel, WeightsError
from ctc_codec.codec.model import default_weights
from ctc_codec.crr.inputs import INPUTS, ZERO_POINT
from ctc_codec.crr.network import SUM_LIMIT, WEIGHT_LIMIT, check_bounds
from ctc_codec.transform.tiles import spans
from reference import look as slow
from reference.weights import Weights

Arrays = dict[str, np.ndarray]

_weights = functools.cache(lambda: Weights(default_weights()))


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
    network = model.context.networks[group]
    weights = _weights()
    extreme = np.where(_noise(5, 6, 2) & 1, np.uint8(255), np.uint8(0))
    sign = np.sign(load_file(default_weights())[f"exact.crr.{group}.enter.weight"][3].transpose(0, 1, 2))
    worst = np.zeros((1, INPUTS, 3, 3), np.uint8)
    worst[0] = np.where(sign > 0, 255, 0)
    for seen in (_noise(6, 5), extreme, np.full_like(extreme, 255), np.zeros_like(extreme), worst):
        centre, scale = network.predict(seen)
        expected = slow.network(_grid(seen), group, weights)
        assert (centre.dtype, scale.dtype) == (np.int8, np.uint8)
        assert centre.tolist() == expected[0]
        assert scale.tolist() == expected[1]


@pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"), reason="constants of fesetround"
)
@pytest.mark.parametrize("mode", [0x400, 0x800, 0xC00], ids=["down", "up", "to zero"])
def test_a_thread_that_rounds_otherwise_is_refused(mode: int, model: CodecModel) -> None:
    """As a program can ask for after the weights were loaded: sums would be scaled to other integers."""

    def tell_and_predict() -> None:
        assert ctypes.CDLL("libm.so.6").fesetround(mode) == 0  # of this thread alone
        model.context.networks[0].predict(_noise(3, 3))

    with ThreadPoolExecutor(1) as pool, pytest.raises(WeightsError, match="round"):
        pool.submit(tell_and_predict).result()
    model.context.networks[0].predict(_noise(3, 3))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # from Python 3.12 on
def test_a_network_is_made_again_in_a_forked_process(model: CodecModel) -> None:
    seen = _noise(9, 9)
    expected = model.context.networks[0].predict(seen)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        found = model.context.networks[0].predict(seen)
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
