"""Freeze a trained model: integer entropy model, float16 transforms, one safetensors file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from .._errors import WeightsError
from .._exact import LAYERS, ExactHyperSynthesis
from .._exact_context import ExactRateReduction
from .._hyperprior import Z_LIMIT, FactorizedPrior
from .._planes import (
    CONTEXT_PLANES,
    FREQUENCY_BITS,
    MEAN_SCALE,
    TreeTables,
    build_tables,
    clip_residual,
    code_lengths,
    quantise_frequencies,
    sigma_of_level,
    unit_masses,
)
from .._state import level_tables, trit_slopes
from .._weights import (
    WEIGHTS_FORMAT,
    ExactParts,
    float_state,
    read_weights,
    reason_of,
    state_tables,
)
from .context import Latent
from .data import PatchStore
from .model import TrainingModel

_OVERHEAD_BATCHES = 2


@torch.no_grad()
def _z_frequencies(prior: FactorizedPrior, channels: int) -> np.ndarray:
    """Integer prior of z, uint16 [Cz, 127]. Mass beyond +-63 is what the encoder never sends."""
    values = torch.arange(-Z_LIMIT, Z_LIMIT + 1, dtype=torch.float32)
    p = prior.likelihood(values.expand(channels, -1)[None, :, None, :])[0, :, 0]
    return quantise_frequencies(p.double().numpy() + 1e-12)


@torch.no_grad()
def integer_overhead(model: TrainingModel, path: Path, store: PatchStore, seed: int = 0) -> float:
    """Rate of the exported integer entropy model over that of the floating-point one, less 1.

    Ideal code lengths of training crops, of z and y: by real numbers sigma, mu and by the learned prior, and
    by the integers of the weights file ``path`` (levels and mu rounded, 16-bit frequencies).
    """
    arrays = read_weights(path).arrays
    exact = ExactParts.of(arrays)
    tables = exact.tables
    lengths = code_lengths(tables)
    z_lengths = FREQUENCY_BITS - np.log2(arrays["exact.z_frequencies"].astype(np.float64))
    generator = torch.Generator(store.device).manual_seed(seed)
    by_floats = by_integers = 0.0
    for crop in torch.cat([store.batch(4, generator) for _ in range(_OVERHEAD_BATCHES)]).cpu()[:, None]:
        y = model.analysis(crop)
        z = model.hyper_analysis(y).round().clamp(-Z_LIMIT, Z_LIMIT)
        level, mu = model.entropy_parameters(z, y)
        s = (y - mu).round().double().numpy()
        p = unit_masses(s, sigma_of_level(level.numpy()))
        by_floats -= float(np.log2(np.maximum(p, 1e-12)).sum()) + float(
            model.prior.likelihood(z).double().log2().sum()
        )
        symbols = z[0].int().numpy()
        levels, means = exact.hyper_synthesis(symbols, (y.shape[2], y.shape[3]))
        s = np.rint(y[0].numpy() - means / MEAN_SCALE).astype(np.int32)
        s = clip_residual(s, levels, tables)
        half = tables.half_widths[levels]
        by_integers += float(lengths[tables.bases[levels] + half + s + half].sum())
        by_integers += float(z_lengths[np.arange(len(symbols))[:, None, None], symbols + Z_LIMIT].sum())
    return by_integers / by_floats - 1


@torch.no_grad()
def context_gain(model: TrainingModel, path: Path, store: PatchStore, seed: int = 0) -> tuple[float, float]:
    """What CRR does to the rate of trits, and what its integers do to that: (by CRR over by tables, by the
    integers of the weights file ``path`` over by floating point), less 1 each.

    Ideal code lengths of training crops, every plane from the state at its beginning. The model is on
    the CPU.
    """
    exact = ExactParts.of(read_weights(path).arrays).crr
    assert exact is not None
    generator = torch.Generator(store.device).manual_seed(seed)
    bits = np.zeros(3)
    for crop in torch.cat([store.batch(4, generator) for _ in range(_OVERHEAD_BATCHES)]).cpu()[:, None]:
        latent, _ = Latent.of(model, crop)
        static = exact.begin(latent.level[0].numpy().astype(np.uint8))
        for plane in range(CONTEXT_PLANES):
            state = latent.state(torch.tensor(plane + 1))
            table, moved, active = latent.trit_bits(state, torch.tensor(plane))
            at = active.flatten().numpy()
            node = state.node[0].numpy().astype(np.int32)
            parameters = [values[at] for values in exact.parameters(node, static)]
            frequencies = exact.frequencies(node.reshape(-1)[at], *parameters)
            offset = model.offset(latent.s, state.trits).flatten().numpy()[at]
            trit = offset // 3**plane % 3
            found = FREQUENCY_BITS - np.log2(frequencies[np.arange(len(trit)), trit])
            bits += (float(table[active].sum()), float(moved[active].sum()), float(found.sum()))
    return bits[1] / bits[0] - 1, bits[2] / bits[1] - 1


def restore(path: Path) -> TrainingModel:
    """The trainable model of a weights file, in the precision that it was frozen in.

    The hyper-synthesis comes back from its integers. Raises WeightsError.
    """
    content = read_weights(path)
    model = TrainingModel(content.config)
    try:
        for name in ("analysis", "synthesis", "hyper_analysis", "prior"):
            getattr(model, name).load_state_dict(float_state(content.arrays, f"{name}."))
        exact = ExactParts.of(content.arrays)
        exact.hyper_synthesis.to_float(model.hyper_synthesis)
        if exact.crr is not None:
            model.add_context()
            assert model.crr is not None
            assert model.cdr is not None
            exact.crr.to_float(model.crr.network)
            model.cdr.load_state_dict(float_state(content.arrays, "cdr."))
    except (ValueError, KeyError, RuntimeError) as error:
        raise WeightsError(f"{path}: cannot be trained on ({reason_of(error)})") from None
    return model


def _context_arrays(tables: TreeTables) -> dict[str, np.ndarray]:
    inverse_sigma, log_width = level_tables()
    return {
        "slices": np.array([SLICES], np.int8),
        "exact.crr.inverse_sigma": inverse_sigma,
        "exact.crr.log_width": log_width,
        "exact.crr.slopes": trit_slopes(tables),
    }


SLICES = 1
"""Parts of a plane that new weights ask encoders for; see weights/TRAINING.md for what more of them give."""


def export(model: TrainingModel, path: Path, channel_priority: np.ndarray | None = None) -> None:
    """Write the frozen weights, atomically; with context models if the model has them.

    channel_priority: int16 [N] from :func:`ctc_codec.training.priorities.channel_priorities`, zeros if None.
    """
    model = model.cpu().eval()
    tables = build_tables()
    exact = ExactHyperSynthesis.from_float(model.hyper_synthesis)
    n = model.config.latent_channels
    arrays: dict[str, np.ndarray] = {
        "exact.trits": tables.trits,
        "exact.trit_frequencies": tables.frequencies[tables.inner],
        "exact.means": tables.means[tables.inner],
        "exact.priorities": tables.priorities[tables.inner],
        "exact.z_frequencies": _z_frequencies(model.prior, model.config.hyper_channels),
        "exact.channel_priority": np.zeros(n, np.int16) if channel_priority is None else channel_priority,
        "exact.band_level": exact.band_level,
    }
    for name in LAYERS:
        layer = exact.layers[name]
        arrays[f"exact.{name}.weight"] = layer.weight.numpy().astype(np.int16)
        arrays[f"exact.{name}.bias"] = layer.bias.numpy().astype(np.int64)
        arrays[f"exact.{name}.shift"] = layer.shift.numpy().astype(np.int8)
    crr: ExactRateReduction | None = None
    floating = ["analysis", "synthesis", "hyper_analysis"]
    if model.crr is not None:
        floating.append("cdr")
        arrays |= _context_arrays(tables)
        crr = ExactRateReduction.from_float(model.crr.network, state_tables(arrays, tables))
        for name, layer in crr.layers.items():
            arrays[f"exact.crr.{name}.weight"] = layer.weight.numpy().astype(np.int16)
            arrays[f"exact.crr.{name}.bias"] = layer.bias.numpy().astype(np.int32)
            arrays[f"exact.crr.{name}.shift"] = layer.shift.numpy().astype(np.int8)
    for prefix in floating:
        for name, tensor in getattr(model, prefix).state_dict().items():
            arrays[f"{prefix}.{name}"] = tensor.contiguous().numpy().astype(np.float16)
    # Not needed to code images, only to train on from here.
    for name, tensor in model.prior.state_dict().items():
        arrays[f"prior.{name}"] = tensor.numpy()
    partial = path.with_name(path.name + ".partial")
    save_file(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()},
        partial,
        metadata={
            "format": WEIGHTS_FORMAT,
            "config": model.config.to_json(),
            "known_answer": ExactParts(tables, exact, crr).known_answer(),
        },
    )
    partial.chmod(0o644)
    os.replace(partial, path)
