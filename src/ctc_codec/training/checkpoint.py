"""Checkpoints of runs, read without running code in them, and the float layers that a run may start from."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..container.atomic import write_whole
from ..crr.density import SCALE_STEP, SCALE_ZERO
from ..crr.inputs import CHANNELS, ONE, ZERO_POINT
from ..crr.network import SCALE_OFFSET

Checkpoint = dict[str, Any]
"""Content of a checkpoint, or a plain state of networks."""
Layers = Mapping[str, npt.NDArray[np.float32]]
"""Weights and biases by name: ``crr.c.G.LAYER`` of level group G, ``synthesis.LAYER``."""


def reason(error: Exception) -> str:
    """The first line of an error of torch, whose message may be empty."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def read(path: Path) -> Checkpoint:
    """A checkpoint of a run, or a plain state of networks, on the CPU. Raises ValueError, OSError."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception:  # the unpickler lets all kinds through, with advice that is not for here
        raise ValueError(f"{path}: damaged, or not a checkpoint") from None
    if not isinstance(state, dict):
        raise ValueError(f"{path}: not a checkpoint")
    return state


def write(path: Path, state: Checkpoint) -> None:
    """Write a checkpoint so that a kill at any moment leaves the old one or the new one. Raises OSError."""
    out = io.BytesIO()
    torch.save(state, out)
    write_whole(path, out.getvalue())


def layers_of(network: str, layers: Layers) -> dict[str, torch.Tensor]:
    """The layers of one network, "crr" or "synthesis", by their names in it."""
    prefix = f"{network}."
    return {
        name.removeprefix(prefix): torch.from_numpy(array)
        for name, array in layers.items()
        if name.startswith(prefix)
    }


def thawed(arrays: Mapping[str, npt.NDArray[Any]]) -> Layers:
    """The float layers of a weights file, which freeze to the same integers."""
    layers: dict[str, npt.NDArray[np.float32]] = {"crr.quantised": np.array(1, np.float32)}
    for name, array in arrays.items():
        if name.startswith("synthesis.") and not name.endswith((".graph", ".halo")):
            layers[name] = array.astype(np.float32)
        elif name.startswith("exact.crr.") and name.endswith(".weight"):
            stem = name.removesuffix(".weight")
            leaves = stem.endswith(".leave")
            own = slice(2 * CHANNELS if leaves else None)
            array, step = array[own], arrays[f"{stem}.scale"][own].copy()
            bias = arrays[f"{stem}.bias"][own].astype(np.float32)
            if leaves:
                step[CHANNELS:] *= ONE / SCALE_STEP
            bias *= step / ONE
            if leaves:
                bias[CHANNELS:] -= SCALE_ZERO - (ZERO_POINT - SCALE_OFFSET) / SCALE_STEP
            layer = stem.removeprefix("exact.crr.")
            layers[f"crr.c.{layer}.weight"] = array.astype(np.float32) * step[:, None, None, None]
            layers[f"crr.c.{layer}.bias"] = bias
    return layers


def load_layers(path: str | os.PathLike[str]) -> Layers:
    """Float layers of a weights file, of a run's checkpoint (its averages) or of a plain state.

    Raises ValueError, OSError.
    """
    if not os.fspath(path).endswith(".safetensors"):
        state = read(Path(path))
        return {name: tensor.float().numpy() for name, tensor in state.get("average", state).items()}
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return thawed(load_file(path))
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{os.fspath(path)}: cannot be used as weights ({reason(error)})") from None
