"""The synthesis network: corrects the picture of conditional means, at a quarter of its resolution.

It sees the picture, how uncertain the two finest levels are, and the plane, and is trained on partial states
of all planes (the retrained decoder of Jeon et al., CVPR 2023, section 3.4). Floating point: it never feeds
the coder. Its correction is bounded in units of the plane. A weights file without it gives the picture of the
means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..crr.density import SCALE_STEP, SCALE_ZERO, SCALES, Rows
from ..crr.runtime import Session
from ..errors import WeightsError
from ..planes.state import State
from ..transform.tiles import spans

Floats = npt.NDArray[np.float32]

SCALE = 4
"""Pixels per position of the network, in each direction."""
COLOURS = 3
CHANNELS = 9
INPUTS = COLOURS * SCALE**2 + 2 * CHANNELS + 6
LIMIT = 16.0
GAIN = 0.25
"""The correction is at most LIMIT * GAIN units of the plane."""
WINDOW = 256
"""Positions at a time have at most this side, without halo."""


def _unshuffle(planes: Floats) -> Floats:
    """[C, 4h, 4w] to [16 C, h, w], as torch.nn.PixelUnshuffle."""
    c, height, width = planes.shape
    blocks = planes.reshape(c, height // SCALE, SCALE, width // SCALE, SCALE)
    return blocks.transpose(0, 2, 4, 1, 3).reshape(c * SCALE**2, height // SCALE, width // SCALE)


def _shuffle(planes: Floats) -> Floats:
    """The inverse of :func:`_unshuffle`."""
    c, height, width = planes.shape
    blocks = planes.reshape(c // SCALE**2, SCALE, SCALE, height, width)
    return blocks.transpose(0, 3, 1, 4, 2).reshape(c // SCALE**2, height * SCALE, width * SCALE)


def _pad(planes: Floats, height: int, width: int) -> Floats:
    """To that size, by repeating the last samples."""
    missing = height - planes.shape[1], width - planes.shape[2]
    return np.pad(planes, ((0, 0), (0, missing[0]), (0, missing[1])), mode="edge") if any(missing) else planes


def deviations(state: State, rows: Rows) -> tuple[Floats, Floats]:
    """Uncertainty of the two finest levels, as :func:`network_inputs` takes it.

    The log2 of a density's scale in units of the plane, at most the interval's half width, over 4.

    rows: of all elements, see :mod:`ctc_codec.crr.density`.
    """
    log_scale = (np.arange(SCALES, dtype=np.float32) / SCALE_STEP - SCALE_ZERO) / np.float32(np.log(2) * 4)
    out = []
    for level in range(2):
        known = state.level(state.known, level)
        scale = log_scale[state.level(rows, level) & np.uint16(SCALES - 1)]
        most = np.where(known, np.float32(np.log2(0.5) / 4), np.float32(np.log2(1.5) / 4))
        nine = np.full((9, *known.shape[1:]), np.float32(np.log2(0.5) / 4), np.float32)
        nine[:: 3 // state.colours] = np.minimum(scale, most)
        out.append(nine)
    return out[0], out[1]


def network_inputs(planes: Floats, deviations: tuple[Floats, Floats], unit: float) -> Floats:
    """Inputs float32 [72, ceil(H / 4), ceil(W / 4)].

    planes: float32 [3, H, W].
    deviations: of the two finest levels, float32 [9, h, w] each: log2 of the uncertainty of each element, in
        units of the plane, over 4.
    unit: of the plane, in grey levels.
    """
    height, width = (-(-side // SCALE) for side in planes.shape[1:])
    fine = _pad(deviations[0], 2 * height, 2 * width)
    fine = fine.reshape(CHANNELS, height, 2, width, 2).mean(axis=(2, 4))
    level = np.full((6, height, width), np.log2(unit) / 4 - 1, np.float32)
    picture = _unshuffle(_pad(planes, SCALE * height, SCALE * width)) * np.float32(1 / 64)
    return np.concatenate((picture, fine, deviations[1], level))


class SynthesisNetwork:
    """An opaque graph and its weights. Safe to share by threads."""

    def __init__(self, tensors: Mapping[str, npt.NDArray[Any]], threads: int) -> None:
        """Take the tensors of a weights file.

        tensors: by name, floats of 16 or 32 bits; "graph" is the ONNX model, "halo" its reach.

        Raises WeightsError.
        """
        tensors = dict(tensors)
        graph = tensors.pop("graph").tobytes()
        self.halo = int(tensors.pop("halo")[0])
        floats = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
        if not all(np.isfinite(tensor).all() for tensor in floats.values()):
            raise WeightsError("the synthesis network has weights that are not finite")
        self.session = Session(graph, floats, threads)

    def correct(self, planes: Floats, deviations: tuple[Floats, Floats], unit: float) -> Floats:
        """Corrected planes, float32 [1 or 3, H, W]; arguments as of :func:`network_inputs`.

        Raises FloatingPointError for numbers that are not finite.
        """
        colours, height, width = planes.shape
        if colours == 1:
            planes = np.concatenate((planes, np.zeros((2, height, width), np.float32)))
        seen = network_inputs(planes, deviations, unit)
        out = np.empty((COLOURS * SCALE**2, *seen.shape[1:]), np.float32)
        for rows in spans(seen.shape[1], self.halo, WINDOW):
            for columns in spans(seen.shape[2], self.halo, WINDOW):
                part = np.ascontiguousarray(seen[None, :, rows.outer, columns.outer])
                out[:, rows.core, columns.core] = self.session.run(part)[0][:, rows.inner, columns.inner]
        correction = _shuffle(np.clip(out, -LIMIT, LIMIT))[:colours, :height, :width]
        result = planes[:colours] + correction * np.float32(GAIN * unit)
        if not np.isfinite(result).all():
            raise FloatingPointError("the synthesis network gave numbers that are not finite")
        return result
