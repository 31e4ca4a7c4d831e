"""Weights files: a model that works, or a WeightsError."""

from __future__ import annotations

import functools
import json
import random
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from ctc_codec import CodecModel, CtcError, WeightsError, decode
from ctc_codec._weights import WEIGHTS_FORMAT, ExactParts, read_weights

from .ctc_files import Parts, small_file
from .surface import DATA, Mutate, Surface, chance_of, require, word_of

_CHANNELS = 3
_CONFIG = {
    "blocks_16": 0,
    "blocks_8": 0,
    "hyper_analysis_channels": 8,
    "hyper_channels": 8,
    "hyper_synthesis_channels": [8, 8, 16],
    "latent_channels": _CHANNELS,
    "wavelet_channels": 3,
    "wavelet_levels": 3,
}
_VALUES: tuple[Any, ...] = (
    *(0, -1, 1, 2, 3, 7, 255, 1 << 16, 1 << 31, 1 << 63, 1 << 70, -(1 << 40), 0.5, 1e999, float("nan")),
    *(None, True, "", "3", [], [1], [8, 8], [8, 8, 16, 2], ["a", "b", "c"], [[8], 8, 16], {}, {"a": 1}),
)
_TYPES = ("BOOL", "U8", "I8", "I16", "F16", "BF16", "F32", "I64", "F64", "F8_E4M3", "F4", "C64", "?")


@functools.cache
def _small_arrays(context: bool) -> dict[str, np.ndarray]:
    """The tiny golden weights with three channels and with trees of at most two trits: kilobytes."""
    arrays = load_arrays((DATA / "tiny.safetensors").read_bytes())
    n, some = len(arrays["exact.channel_priority"]), slice(_CHANNELS)
    both = [*range(_CHANNELS), *range(n, n + _CHANNELS)]  # levels, then means
    static = [*range(4 * _CHANNELS), *range(4 * n, 4 * n + _CHANNELS)]  # features, then levels
    trits = arrays["exact.trits"]
    kept = np.repeat(trits <= 2, (3**trits - 1) // 2)
    out = {}
    for name, array in arrays.items():
        part = name.split(".", 1)[-1]
        if name.startswith("prior.") or ((".crr." in name or name.startswith("cdr.")) and not context):
            continue
        if name in ("exact.trit_frequencies", "exact.means", "exact.priorities", "exact.crr.slopes"):
            array = array[kept]
        elif name == "exact.trits":
            array = np.where(trits <= 2, trits, 0).astype(np.int32)
        elif part.startswith("leave.") and name.startswith("exact."):
            array = array[both]
        elif part.startswith(("crr.leave.", "crr.own.")):
            array = array[: 2 * _CHANNELS]
        elif part == "crr.enter.weight":
            array = array[:, static]
        elif part == "network.enter.weight":
            array = array[:, : 4 * _CHANNELS]
        elif part in ("up.weight", "network.static.weight"):
            array = array[:, some] if name != "exact.up.weight" else array
        elif part.startswith(("down.", "network.leave.", "network.own.")) or part in (
            *("log_gain", "log_scale", "channel_priority"),
        ):
            array = array[some]
        elif name == "hyper_analysis.enter.weight":
            array = array[:, : 2 * _CHANNELS]
        out[name] = np.ascontiguousarray(array)
    return out


def _file(arrays: dict[str, np.ndarray], config: str, known_answer: str) -> bytes:
    metadata = {"format": WEIGHTS_FORMAT, "config": config, "known_answer": known_answer}
    data = save_arrays(arrays, metadata)
    size = struct.unpack("<Q", data[:8])[0]
    # safetensors writes metadata in another order each time, and the same seed is to give the same inputs.
    return _with_head(json.dumps(json.loads(data[8 : 8 + size]), sort_keys=True).encode(), data[8 + size :])


def _seeds() -> list[bytes]:
    out = []
    for context in (False, True):
        arrays = _small_arrays(context)
        out.append(_file(arrays, json.dumps(_CONFIG), ExactParts.of(arrays).known_answer()))
    return out


def check(data: bytes) -> str:
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.safetensors"
            path.write_bytes(data)
            read_weights(path)
            model = CodecModel.load(path)
    except WeightsError as error:
        require("allocate" not in str(error), "weights ask for no more memory than their file is large")
        return word_of(error)
    rng = chance_of(data)
    file = bytearray(small_file(rng, 300, width=20, height=33))
    try:
        decode(bytes(_for_model(file, model)[:200]), weights=model, device="cpu")
    except CtcError as error:
        return f"loaded, {word_of(error)}"
    return "works"


def _for_model(file: bytearray, model: CodecModel) -> bytes:
    parts = Parts.of(bytes(file))
    parts.fingerprint = model.fingerprint
    return parts.to_bytes()


def _mutate(data: bytes, rng: random.Random, plain: Mutate) -> bytes:
    """Bytes changed blindly; or the description of one tensor, the configuration, or a tensor's values, the
    rest fitting."""
    way = rng.random()
    if way < 0.2 or len(data) < 8:
        return plain(data)
    size = struct.unpack("<Q", data[:8])[0]
    head, body = data[8 : 8 + size], data[8 + size :]
    if way < 0.35:
        return _with_head(plain(head), body)
    try:
        described = json.loads(head)
        if way < 0.55:
            return _with_head(json.dumps(_with_description(described, rng)).encode(), body)
        if way < 0.75:
            return _with_head(json.dumps(_with_config(described, rng, plain)).encode(), body)
        return _with_values(data, described["__metadata__"], rng)
    except Exception:  # of an input that is no weights file any more
        return plain(data)


def _with_head(head: bytes, body: bytes) -> bytes:
    return struct.pack("<Q", len(head)) + head + body


def _with_description(described: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    name = rng.choice([name for name in described if name != "__metadata__"])
    entry = described[name]
    what = rng.randrange(5)
    if what == 0:
        del described[name]
    elif what == 1:
        described[rng.choice(list(described))] = entry
    elif what == 2:
        entry["dtype"] = rng.choice(_TYPES)
        if rng.random() < 0.5:
            entry["shape"] = [entry["data_offsets"][1] - entry["data_offsets"][0]]
    elif what == 3:
        shape = entry["shape"]
        rng.shuffle(shape)
        if rng.random() < 0.5:
            shape.insert(0, rng.choice((1, 0, 2)))
    else:
        at = entry["data_offsets"]
        at[rng.randrange(2)] = rng.choice((0, at[0], at[1], at[1] + 2, 1 << 63))
    return described


def _with_config(described: dict[str, Any], rng: random.Random, plain: Mutate) -> dict[str, Any]:
    metadata = described["__metadata__"]
    what = rng.randrange(6)
    if what == 0:
        metadata["config"] = plain(metadata["config"].encode()).decode("latin-1")
    elif what == 1:
        metadata["config"] = rng.choice(("[" * 5000, "{", "null", "[]", "1", '"', "1e999", "NaN", "9" * 5000))
    elif what == 2:
        del metadata[rng.choice(list(metadata))]
    else:
        config = json.loads(metadata["config"])
        config[rng.choice(list(config))] = rng.choice(_VALUES)
        metadata["config"] = json.dumps(config)
    return described


def _with_values(data: bytes, metadata: dict[str, str], rng: random.Random) -> bytes:
    """Extreme values in a tensor of a valid file; in half of the cases with the known answer of these."""
    arrays = {name: array.copy() for name, array in load_arrays(data).items()}
    name = rng.choice(sorted(arrays))
    flat = arrays[name].reshape(-1)
    for _ in range(rng.randrange(1, 4)):
        if flat.dtype.kind == "f":
            flat[rng.randrange(len(flat))] = rng.choice((0, -1, np.inf, -np.inf, np.nan, 60000))
        else:
            limits = np.iinfo(flat.dtype)
            flat[rng.randrange(len(flat))] = rng.choice((0, 1, limits.min, limits.max, limits.max // 2, 3))
    answer = metadata["known_answer"]
    if rng.random() < 0.5:
        answer = ExactParts.of(arrays).known_answer()
    return _file(arrays, metadata["config"], answer)


SURFACE = Surface("weights", _seeds, check, _mutate, executions=400, max_bytes=1 << 17)
