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
from PIL import Image
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from ctc_codec import CodecModel, WeightsError, decode, encode
from ctc_codec.codec.model import WEIGHTS_FORMAT, default_weights
from support.pictures import photograph, psnr

from .surface import Mutate, Surface, chance_of, require, word_of

_TYPES = ("BOOL", "U8", "I8", "I16", "F16", "BF16", "F32", "I64", "F64", "F8_E4M3", "F4", "C64", "?")


@functools.cache
def _small_arrays() -> dict[str, np.ndarray]:
    """The released weights with one network for all levels and without a synthesis network."""
    arrays = load_arrays(default_weights().read_bytes())
    group = f"exact.crr.{arrays['exact.crr.groups'][0]}."
    kept = {
        name: array
        for name, array in arrays.items()
        if not name.startswith(("exact.crr.", "synthesis.")) or name.startswith(group)
    }
    return {**kept, "exact.crr.groups": np.full_like(arrays["exact.crr.groups"], int(group.split(".")[2]))}


def _file(arrays: dict[str, np.ndarray], known_answer: str) -> bytes:
    data = save_arrays(arrays, {"format": WEIGHTS_FORMAT, "known_answer": known_answer})
    size = struct.unpack("<Q", data[:8])[0]
    # safetensors writes metadata in another order each time, and the same seed is to give the same inputs.
    return _with_head(json.dumps(json.loads(data[8 : 8 + size]), sort_keys=True).encode(), data[8 + size :])


def _known_answer(arrays: dict[str, np.ndarray]) -> str:
    return CodecModel(arrays, None, 1).known_answer


@functools.cache
def _seed() -> bytes:
    return _file(_small_arrays(), _known_answer(_small_arrays()))


def check(data: bytes) -> str:
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.safetensors"
            path.write_bytes(data)
            model = CodecModel.load(path, threads=1)
    except WeightsError as error:
        require("allocate" not in str(error), "weights ask for no more memory than their file is large")
        return word_of(error)
    coded = encode(_picture(), weights=model, quality=100)
    require(psnr(_picture(), decode(coded, weights=model)) > 46, "what a model encodes it decodes")
    decode(coded[: chance_of(data).randrange(30, len(coded))], weights=model)
    return "works"


@functools.cache
def _picture() -> Image.Image:
    return Image.fromarray(photograph(21, 18))


def _mutate(data: bytes, rng: random.Random, plain: Mutate) -> bytes:
    """Bytes changed blindly; or the description of one tensor, the metadata, or a tensor's values, the rest
    fitting. Mostly of good weights: of bad ones the first fault is all that is seen."""
    if rng.random() < 0.7:
        data = _seed()
    way = rng.random()
    if way < 0.1 or len(data) < 8:
        return plain(data)
    size = struct.unpack("<Q", data[:8])[0]
    head, body = data[8 : 8 + size], data[8 + size :]
    if way < 0.2:
        return _with_head(plain(head), body)
    try:
        described = json.loads(head)
        if way < 0.45:
            return _with_head(json.dumps(_with_description(described, rng)).encode(), body)
        if way < 0.55:
            return _with_head(json.dumps(_with_metadata(described, rng, plain)).encode(), body)
        return _with_values(data, described["__metadata__"]["known_answer"], rng)
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


def _with_metadata(described: dict[str, Any], rng: random.Random, plain: Mutate) -> dict[str, Any]:
    metadata = described["__metadata__"]
    name = rng.choice(list(metadata))
    if rng.random() < 0.3:
        del metadata[name]
    else:
        metadata[name] = rng.choice(
            ("", "\n", "ctc-weights-3", plain(metadata[name].encode()).decode("latin-1"))
        )
    return described


def _with_values(data: bytes, known_answer: str, rng: random.Random) -> bytes:
    """Extreme values in a tensor of a valid file; in half of the cases with the known answer of these."""
    arrays = {name: array.copy() for name, array in load_arrays(data).items()}
    name = rng.choice([name for name in sorted(arrays) if not name.endswith("graph")])
    flat = arrays[name].reshape(-1)
    for _ in range(rng.randrange(1, 4)):
        if flat.dtype.kind == "f":
            flat[rng.randrange(len(flat))] = rng.choice((0, -1, np.inf, -np.inf, np.nan, 0.25, 60000))
        else:
            limits = np.iinfo(flat.dtype)
            flat[rng.randrange(len(flat))] = rng.choice((0, 1, limits.min, limits.max, limits.max // 2, 3))
    if rng.random() < 0.6:
        known_answer = _known_answer(arrays)
    return _file(arrays, known_answer)


SURFACE = Surface("weights", lambda: [_seed()], check, _mutate, executions=250, max_bytes=1 << 19)
