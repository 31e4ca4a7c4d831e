"""Checkpoints of runs: read whatever is in them without running it, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

State = dict[str, Any]


def reason(error: Exception) -> str:
    """The first line of what torch says, which may be nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def read(path: Path) -> State:
    """A checkpoint of a run, or a plain state of networks, on the CPU. Raises ValueError, OSError."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # the unpickler lets all kinds through
        raise ValueError(f"{path}: damaged checkpoint ({reason(error)})") from None
    if not isinstance(state, dict):
        raise ValueError(f"{path}: not a checkpoint")
    return state


def networks_of(state: State) -> dict[str, torch.Tensor]:
    """The averaged weights of a checkpoint, or a plain state as it is."""
    weights: dict[str, torch.Tensor] = state.get("average", state)
    return weights


def write(path: Path, state: State) -> None:
    """Write a checkpoint so that a kill at any moment leaves the old one or the new one."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
