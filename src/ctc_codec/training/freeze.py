"""Freezing of trained float networks to a weights file: weights of 7 bits, graphs, tables, bounds.

    python -m ctc_codec.training.freeze CHECKPOINT.pt PHOTOS... -o ctc.safetensors

prints the cost of freezing in bits, on photographs that are held out of training.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..codec.model import WEIGHTS_FORMAT, CodecModel, part
from ..container.atomic import write_whole
from ..container.header import MAX_PLANES
from ..crr import density
from ..crr.density import SCALE_STEP, SCALE_ZERO
from ..crr.inputs import CHANNELS, ONE, ZERO_POINT
from ..crr.network import OUTPUTS, SCALE_OFFSET, WEIGHT_LIMIT
from ..errors import CtcError
from ..planes.cells import BLANK_LEVELS, active_cells, every_cell, positions
from ..planes.state import State
from ..planes.trits import at_plane, quantise
from ..transform.colour import rotate
from ..transform.lifting import LEVELS, analyse
from .checkpoint import Layers, load_layers
from .data import Pixels, Source
from .graphs import crr_graph, synthesis_graph
from .tables import BIAS_RATIO, Arrays, density_tables, input_tables

HALO = 3
"""Halo of a network of three layers of 3x3."""
BLOCKS = ("b.0.a", "b.1.a")
_PICTURES = 120
"""Enough for the context-free scales."""


# --- CRR --------------------------------------------------------------------------------------------


def integer_layer(
    weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32], gain: npt.NDArray[np.float32]
) -> Arrays:
    """A convolution from activations in 1/16 to outputs in 1/16 times ``gain``, a power of two for each.

    Weights get the largest power of two that keeps them within 7 bits and biases below 2^22, as
    :func:`ctc_codec.training.networks.weight_scale`. Raises ValueError for numbers that are not finite.
    """
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise ValueError("weights that are not finite cannot be frozen")
    peak = np.maximum(np.abs(weight).max(axis=(1, 2, 3)), (np.abs(bias) + 1) / BIAS_RATIO)
    shift = np.floor(np.log2(WEIGHT_LIMIT / peak))
    scale = np.ldexp(np.float32(1), shift.astype(np.int32))
    integers = np.round(weight * scale[:, None, None, None])
    return {
        "weight": np.clip(integers, -WEIGHT_LIMIT, WEIGHT_LIMIT).astype(np.int8),
        "bias": np.round(bias * ONE * scale).astype(np.int32),
        "scale": (gain / scale).astype(np.float32),
        "zero": np.zeros(len(bias), np.int8),
    }


def _filled_up(array: npt.NDArray[Any], kind: str) -> npt.NDArray[Any]:
    """A tensor of the last layer with outputs of zero behind its own, see OUTPUTS."""
    missing = OUTPUTS - len(array)
    value = 1 if kind == "scale" else 0
    return np.pad(array, [(0, missing), *[(0, 0)] * (array.ndim - 1)], constant_values=value)


def integer_network(state: Layers) -> Arrays:
    """Tensors and graph of a level group from its float layers ``enter``, ``b.0.a``, ``b.1.a``, ``leave``.

    The last layer's log scales are shifted so that they come out as 8 (s + 5) + 96, and their step halves.
    """
    layers: Arrays = {}
    for name in ("enter", *BLOCKS, "leave"):
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"].copy()
        gain = np.ones(len(bias), np.float32)
        if name == "leave":
            gain[CHANNELS:] = SCALE_STEP / ONE
            bias[CHANNELS:] += SCALE_ZERO - (ZERO_POINT - SCALE_OFFSET) / SCALE_STEP
        for kind, array in integer_layer(weight, bias, gain).items():
            layers[f"{name}.{kind}"] = _filled_up(array, kind) if name == "leave" else array
    layers["graph"] = np.frombuffer(crr_graph(layers, BLOCKS), np.uint8)
    return layers


def crr_arrays(state: Layers, groups: Sequence[int]) -> Arrays:
    """Tensors ``exact.*`` of the networks.

    state: float layers by name, ``crr.c.G.LAYER`` for group G.
    groups: the group of every level, finest first.
    """
    arrays: Arrays = {"exact.crr.groups": np.array(groups, np.uint8)}
    for group in sorted(set(groups)):
        for name, array in integer_network(part(state, f"crr.c.{group}.")).items():
            arrays[f"exact.crr.{group}.{name}"] = array
        arrays[f"exact.crr.{group}.halo"] = np.array([HALO], np.uint8)
    return arrays


# --- context-free scales ----------------------------------------------------------------------------


def scale_tables(pictures: Iterable[Pixels]) -> Arrays:
    """The scales that code trits without CRR in the fewest bits on pictures, uint8 [height, width, 3] each:
    ``exact.density.static`` uint8 [MAX_PLANES, LEVELS, CHANNELS, MAGNITUDES] by magnitude, and
    ``exact.density.blank`` uint8 [MAX_PLANES, LEVELS, CHANNELS] in blank cells."""
    shape = (MAX_PLANES, LEVELS, CHANNELS)
    counts = np.zeros((*shape, density.MAGNITUDES, 3), np.int64)
    blank = np.zeros((*shape, 3), np.int64)
    for picture in pictures:
        _, details = analyse(rotate(picture, False))
        values = [quantise(detail) for detail in details]
        state = State([detail.shape[1:] for detail in details], 3, 0)
        for plane in range(MAX_PLANES):
            for level, value in enumerate(values):
                state.level(state.value, level)[:] = at_plane(value, plane + 1)
            for level, value in enumerate(values):
                above, here = state.level(state.value, level).astype(np.int32), at_plane(value, plane)
                if not here.any():
                    continue
                trit = np.sign(above + (above == 0)) * (here - 3 * above)  # 2 is away from zero
                magnitude = np.minimum(np.abs(above), density.MAGNITUDES - 1)
                cells = active_cells(state, level) if level < BLANK_LEVELS else every_cell(state, level)
                inactive = ~positions(cells, *value.shape[1:])
                for channel in range(CHANNELS):
                    key = magnitude[channel].reshape(-1) * 3 + trit[channel].reshape(-1) + 1
                    found = np.bincount(key, minlength=3 * density.MAGNITUDES)
                    counts[plane, level, channel] += found.reshape(-1, 3)
                    blank[plane, level, channel] += np.bincount(trit[channel][inactive] + 1, minlength=3)
    tables = density_tables()
    place = np.minimum(np.arange(density.MAGNITUDES) * 3 * ONE, density.DISTANCES - 1)
    frequencies = tables["exact.density.frequencies"].reshape(density.DISTANCES, density.SCALES, 3)[place]
    bits = -np.log2(frequencies / 65536)  # [MAGNITUDES, SCALES, 3]
    zero = tables["exact.density.zero_cost"][: density.SCALES] / 65536  # in groups: without least frequencies
    other = 1 - np.log2(1 - 2.0 ** -np.where(zero > 0, zero, 1))
    grouped = np.stack((other, zero, other), axis=1)
    alone = np.where(zero[:, None] > 0, grouped, bits[0])
    prior = 0.5 * np.array([1, 2, 1])  # where nothing was seen
    cost = np.einsum("plcmt,mst->plcms", counts + prior, bits)
    blank_cost = np.einsum("plct,st->plcs", blank + prior, alone)
    return {
        "exact.density.static": cost.argmin(axis=-1).astype(np.uint8),
        "exact.density.blank": blank_cost.argmin(axis=-1).astype(np.uint8),
    }


# --- synthesis --------------------------------------------------------------------------------------


def synthesis_arrays(state: Layers) -> Arrays:
    """Tensors ``synthesis.*`` from the float layers ``synthesis.LAYER``; none if there are none, or if they
    correct nothing, as before any training."""
    layers: Arrays = dict(part(state, "synthesis."))
    if not layers or not (layers["leave.weight"].any() or layers["leave.bias"].any()):
        return {}
    blocks = len({name.split(".")[1] for name in layers if name.startswith("b.")})
    arrays = {f"synthesis.{name}": array.astype(np.float16) for name, array in layers.items()}
    arrays["synthesis.graph"] = np.frombuffer(synthesis_graph(layers, blocks), np.uint8)
    arrays["synthesis.halo"] = np.array([blocks + 2], np.uint8)  # its layers of 3x3
    return arrays


# --- files ------------------------------------------------------------------------------------------


def model_arrays(state: Layers, groups: Sequence[int], scales: Arrays) -> Arrays:
    """All tensors of a weights file, with a synthesis network if ``state`` has one. Raises ValueError for
    numbers that are not finite."""
    return crr_arrays(state, groups) | density_tables() | input_tables() | scales | synthesis_arrays(state)


def save(arrays: Arrays, path: str | os.PathLike[str]) -> CodecModel:
    """Check every bound by loading, write a weights file with its known answer, return the model.

    Raises WeightsError; the file is replaced when the new one is whole.
    """
    from safetensors.numpy import save as packed

    # It writes memory as it lies.
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    model = CodecModel(arrays, None)
    if model.synthesis is not None:  # its graph is read at its first use
        nothing = np.zeros((CHANNELS, 8, 8), np.float32), np.zeros((CHANNELS, 4, 4), np.float32)
        model.synthesis.correct(np.zeros((3, 16, 16), np.float32), nothing, 8.0)
    data = packed(arrays, {"format": WEIGHTS_FORMAT, "known_answer": model.known_answer})
    write_whole(path, data)
    return CodecModel.load(path)


def freeze(state: Layers, source: Source, path: Path, report: Callable[[str], None]) -> CodecModel:
    """Write the weights file of a state and report the cost of its integers.

    source: photographs for the context-free scales, and held-out ones to measure bits on.
    report: takes lines for people.

    Raises ValueError, WeightsError, OSError.
    """
    from .freezing_cost import freezing_cost
    from .networks import GROUPS

    step = max(1, len(source.photographs) // _PICTURES)
    scales = scale_tables(source.photographs[::step])
    model = save(model_arrays(state, GROUPS, scales), path)
    report(f"{path}: weights {model.fingerprint.hex()}, {os.path.getsize(path) / 1e6:.2f} MB")
    if source.held_out:
        report(f"bits of integer networks on {len(source.held_out)} held-out photographs:")
        for line in freezing_cost(state, model, source.held_out):
            report(f"  {line}")
    else:
        report("no photographs are held out: what freezing costs was not measured")
    return model


def main(arguments: Sequence[str]) -> None:
    """Freeze a checkpoint as the command line above says. Raises SystemExit with a line for an error."""
    parser = argparse.ArgumentParser(prog="python -m ctc_codec.training.freeze")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("sources", nargs="+", type=Path, help="folders or tar shards of photographs")
    parser.add_argument("-o", "--output", type=Path, required=True, help="weights file")
    parser.add_argument("--exclude", action="append", default=[], help="beginning of names that are left out")
    chosen = parser.parse_args(arguments)
    try:
        source = Source.read(chosen.sources, tuple(chosen.exclude))
        freeze(load_layers(chosen.checkpoint), source, chosen.output, print)
    except KeyError as error:
        raise SystemExit(f"{chosen.checkpoint}: has no {error.args[0]}") from None
    except (CtcError, ValueError, OSError, ImportError) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main(sys.argv[1:])
