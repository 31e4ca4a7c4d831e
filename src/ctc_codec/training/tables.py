"""Constants that networks share with their frozen form, and the tables that follow from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..crr import density
from ..crr.inputs import ONE

Arrays = dict[str, npt.NDArray[Any]]
Numbers = npt.NDArray[np.float64]

MIXTURE = ((0.75, 2.2), (0.25, 0.8))
"""Shares and steepness of the two logistics."""
LEAST_FREQUENCY = 16
"""An outlier must not cost 23 bits."""
CLASS_SCALE = 400
"""Class of a trit by its priority, see :func:`ctc_codec.training.networks.priority`."""
LEAK, GATED_LEAK = 1 / 8, 0.1
"""Slopes below zero of the activations of CRR and of the synthesis network."""
BIAS_RATIO = 4096
"""Weights smaller than their output's bias by more are zero: both have to fit a sum of 24 bits."""
_BINS = 64


def upper_tail(z: Numbers) -> Numbers:
    """Mass of the mixture above z, which is in scales from the centre."""
    return np.asarray(sum(share / (1 + np.exp(np.clip(z * steep, -700, 700))) for share, steep in MIXTURE))


def _masses(low: Numbers, high: Numbers) -> Numbers:
    """Mass between two points, from the tail that keeps its precision."""
    mirrored = low + high < 0
    return upper_tail(np.where(mirrored, -high, low)) - upper_tail(np.where(mirrored, -low, high))


def density_tables() -> Arrays:
    """All tables that follow from the mixture, see :class:`ctc_codec.crr.density.Densities`."""
    distance = np.repeat(np.arange(density.DISTANCES) / ONE, density.SCALES)[:, None]
    scale = np.tile(
        np.exp(np.arange(density.SCALES) / density.SCALE_STEP - density.SCALE_ZERO), density.DISTANCES
    )[:, None]
    edges = distance + np.array([-1.5, -0.5, 0.5, 1.5])
    p = np.maximum(_masses(edges[:, :-1] / scale, edges[:, 1:] / scale), 1e-8)
    p /= p.sum(axis=1, keepdims=True)
    frequencies = np.maximum(LEAST_FREQUENCY, np.round(p * 65536)).astype(np.int64)
    frequencies[np.arange(len(p)), frequencies.argmax(axis=1)] += 65536 - frequencies.sum(axis=1)
    q = frequencies / 65536
    bits = -(q * np.log2(q)).sum(axis=1)
    fall = q[:, 0] + q[:, 2] - (q[:, 2] - q[:, 0]) ** 2
    zero_bits = -np.log2(p[:, 1])  # a group has no least frequencies: they would be most of its cost
    quiet = 65536 - frequencies[:, 1] < density.QUIET
    cost = np.where(quiet, np.maximum(1, np.round(zero_bits * 65536)), 0).astype(np.uint16)
    steps = np.arange((int(cost.max()) * 64 >> density.GROUP_STEP_BITS) + 1) * 2.0**density.GROUP_STEP_BITS
    group = np.clip(np.round(65536 * 2.0 ** (-steps / 65536)), 64, 65536 - 64)

    bins = np.linspace(-1.5, 1.5, 3 * _BINS + 1)
    points = distance + bins
    masses = _masses(points[:, :-1] / scale, points[:, 1:] / scale).reshape(-1, 3, _BINS)
    middles = ((bins[1:] + bins[:-1]) / 2).reshape(3, _BINS)
    means = [_mean(masses.reshape(len(p), -1), middles.reshape(-1), distance[:, 0])]
    means += [_mean(masses[:, t], middles[t], distance[:, 0] + t - 1) - (t - 1) for t in range(3)]
    return {
        "exact.density.frequencies": frequencies.astype(np.uint16),
        "exact.density.classes": np.clip(np.round(fall / bits * CLASS_SCALE), 1, 255).astype(np.uint8),
        "exact.density.zero_cost": cost,
        "exact.density.group": group.astype(np.uint16),
        "means": np.stack(means).astype(np.float32),
    }


def _mean(masses: Numbers, middles: Numbers, place: Numbers) -> Numbers:
    """Mean of ``middles`` by rows of masses; where all of them underflow, the end nearest to the centre."""
    total = masses.sum(axis=1)
    nearest = np.where(place > 0, middles[0], middles[-1])
    return np.where(total > 0, masses @ middles / np.maximum(total, 1e-320), nearest)


def input_tables() -> Arrays:
    """See :class:`ctc_codec.crr.inputs.InputTables`."""

    def logarithm(x: Numbers) -> npt.NDArray[np.int8]:
        return np.minimum(np.round(np.log1p(x) * ONE), 127).astype(np.int8)

    n, c = np.arange(4096.0), np.arange(8192.0) / ONE
    return {
        "exact.inputs.log": logarithm(n),
        "exact.inputs.fine": logarithm(2 * c),
        "exact.inputs.rough": logarithm(c / 4),
    }
