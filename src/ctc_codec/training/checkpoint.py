"""Checkpoints: written atomically, slimmed for transport, cut into parts and joined again."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from .._weights import reason_of

PART_BYTES = 15 << 20
_PART = re.compile(r"checkpoint-([0-9a-f]{16})\.part-(\d+)-of-(\d+)")

State = dict[str, Any]


@contextlib.contextmanager
def _atomically(path: Path) -> Iterator[BinaryIO]:
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def save_checkpoint(path: Path, state: State) -> None:
    """Write a checkpoint so that a kill at any moment leaves the old or the new one."""
    with _atomically(path) as file:
        torch.save(state, file)


def load_checkpoint(path: Path) -> State:
    """Read a checkpoint, full or slim, onto the CPU (tensors and plain values only).

    Raises ValueError for anything else, OSError if it can't be read.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # the unpickler lets all kinds through
        raise ValueError(f"{path}: damaged checkpoint ({reason_of(error)})") from None
    if not isinstance(state, dict) or "model" not in state:
        raise ValueError(f"{path}: not a training checkpoint")
    return _widened(state) if state.get("slim") else state


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """The floating-point tensors of nested containers in another precision; scalars stay."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() and value.ndim else value
    if isinstance(value, dict):
        return {key: _cast(item, dtype) for key, item in value.items()}
    if isinstance(value, list):
        return [_cast(item, dtype) for item in value]
    return value


def slimmed(state: State, optimizer: bool = True) -> State:
    """A state of 2/3 of the size or, without the optimiser's moments, of less than half.

    Moments become bfloat16, and so does the *difference* between the averaged and the live weights
    (2^-9 of a small difference: nothing is lost that training would notice).
    """
    ema = {name: (mean - state["model"][name]).bfloat16() for name, mean in state["ema"].items()}
    moments = _cast(state["optimizer"], torch.bfloat16) if optimizer else None
    return state | {"slim": True, "ema": ema, "optimizer": moments}


def _widened(state: State) -> State:
    ema = {name: state["model"][name] + change.float() for name, change in state["ema"].items()}
    wide = state | {"ema": ema, "optimizer": _cast(state["optimizer"], torch.float32)}
    del wide["slim"]
    return wide


def split(path: Path, folder: Path, optimizer: bool = True, part_bytes: int = PART_BYTES) -> list[Path]:
    """Write a slim copy of a checkpoint as parts of at most ``part_bytes``; their hash is in their names.

    Parts of other checkpoints in the folder are deleted, but only when the new ones are all there.
    Raises ValueError, OSError.
    """
    buffer = io.BytesIO()
    torch.save(slimmed(load_checkpoint(path), optimizer), buffer)
    data = buffer.getvalue()
    name = f"checkpoint-{hashlib.sha256(data).hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    count = -(-len(data) // part_bytes)
    parts = [folder / f"{name}.part-{i + 1}-of-{count}" for i in range(count)]
    for i, part in enumerate(parts):
        with _atomically(part) as file:
            file.write(data[i * part_bytes : (i + 1) * part_bytes])
    for old in _parts(folder):
        if old not in parts:
            old.unlink()
    return parts


def _parts(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _PART.fullmatch(path.name))


def join(folder: Path, path: Path) -> bool:
    """Put the newest complete set of parts in a folder together as checkpoint ``path``; False, and nothing
    done, if there are none or the checkpoint is newer.

    Raises ValueError when no set is complete, or when the parts are damaged.
    """
    sets: dict[tuple[str, int], dict[int, Path]] = {}
    for part in _parts(folder):
        match = _PART.fullmatch(part.name)
        assert match is not None
        sets.setdefault((match[1], int(match[3])), {})[int(match[2])] = part
    if not sets:
        return False

    def age(parts: dict[int, Path]) -> int:
        return max(part.stat().st_mtime_ns for part in parts.values())

    complete = [key for key, parts in sets.items() if len(parts) == key[1]]
    digest, count = max(complete or sets, key=lambda key: age(sets[key]))
    found = sets[digest, count]
    if path.exists() and path.stat().st_mtime_ns >= age(found):
        return False
    missing = [i for i in range(1, count + 1) if i not in found]
    if missing:
        raise ValueError(f"{folder}: part {missing[0]} of {count} of the checkpoint is missing")
    data = b"".join(found[i].read_bytes() for i in range(1, count + 1))
    if hashlib.sha256(data).hexdigest()[:16] != digest:
        raise ValueError(f"{folder}: the checkpoint's parts are damaged (their hash differs)")
    with _atomically(path) as file:
        file.write(data)
    return True
