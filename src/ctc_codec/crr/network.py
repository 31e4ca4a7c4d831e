"""The networks of CRR in 8-bit kernels of onnxruntime, opaque and exact.

A network is a graph without weights (ONNX) and integer tensors that it takes by name: weights of 7 bits,
biases, scales that are powers of two. Activations are 8 bits around 128, so every result is an integer with
one right value. With weights of 8 bits some processors saturate sums of products in 16 bits in silence: hence
the bound on weights, and a known answer on extreme operands that is compared when a model is loaded.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import WeightsError
from .inputs import CHANNELS, INPUTS, ZERO_POINT
from .runtime import Session

WEIGHT_LIMIT = 63
SUM_LIMIT = 1 << 24
"""Limit of any sum of products: float32 scales it without a rounding of its own."""
OUTPUTS = 24
"""Nine centres, nine scales, and some that mean nothing: multiples of 8 take half the time."""
SCALE_OFFSET = ZERO_POINT - 32
"""A network's output of scales is 0..63 after this is taken away, clamped."""

Centres = npt.NDArray[np.int8]
Scales = npt.NDArray[np.uint8]


def check_bounds(tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    """Raise WeightsError unless a network's tensors keep every sum exact on every processor."""
    for name, tensor in tensors.items():
        if name.endswith(".weight"):
            stem = name.removesuffix(".weight")
            bias, scale = tensors.get(f"{stem}.bias"), tensors.get(f"{stem}.scale")
            outputs = tensor.shape[:1]
            if tensor.dtype != np.int8 or tensor.ndim != 4:
                raise WeightsError(f"{name}: not a kernel of 8-bit integers")
            if bias is None or bias.dtype != np.int32 or bias.shape != outputs:
                raise WeightsError(f"{name}: its bias does not fit")
            if scale is None or scale.dtype != np.float32 or scale.shape != outputs:
                raise WeightsError(f"{name}: its scales do not fit")
            weight = np.abs(tensor.astype(np.int64))
            if weight.max(initial=0) > WEIGHT_LIMIT:
                raise WeightsError(f"{name}: a weight is larger than {WEIGHT_LIMIT}")
            if (weight.sum((1, 2, 3)) * 128 + np.abs(bias.astype(np.int64))).max(initial=0) >= SUM_LIMIT:
                raise WeightsError(f"{name}: a sum may leave the exact range")
            mantissa, exponent = np.frexp(scale)
            if (mantissa != 0.5).any() or exponent.min() < -24 or exponent.max() > 8:
                raise WeightsError(f"{name}: a scale is no power of two")
        elif not name.endswith((".bias", ".scale", ".zero", "graph")):
            raise WeightsError(f"{name}: a tensor of an unknown kind")


class Network:
    """The network of a group of levels. Safe to share by threads.

    halo: positions around a window on which its results depend.
    """

    def __init__(self, tensors: Mapping[str, npt.NDArray[Any]], halo: int) -> None:
        """tensors: by name, with "graph" for the ONNX model. Raises WeightsError."""
        check_bounds(tensors)
        if not 0 <= halo <= 64:
            raise WeightsError(f"a network's halo is {halo}")
        self.halo = halo
        weights = {name: tensor for name, tensor in tensors.items() if name != "graph"}
        # One thread: windows are looked at side by side.
        self.session = Session(tensors["graph"].tobytes(), weights, 1)

    def predict(self, inputs: npt.NDArray[np.uint8]) -> tuple[Centres, Scales]:
        """Centres int8 [9, h, w] in 1/16 unit and scales uint8 [9, h, w], 0 to 63, of densities.

        inputs: uint8 [1, 72, h, w], see :mod:`ctc_codec.crr.inputs`.
        """
        out = self.session.run(inputs)[0]
        centre = (out[:CHANNELS] ^ np.uint8(ZERO_POINT)).view(np.int8)
        least = np.uint8(SCALE_OFFSET)
        scale = np.clip(out[CHANNELS : 2 * CHANNELS], least, least + np.uint8(63)) - least
        return centre, scale

    def known_answer(self) -> str:
        """SHA-256 of the raw outputs for fixed inputs: random, and extreme ones, which is where kernels that
        saturate differ."""
        noise = _noise()
        extreme = np.where(noise & 64, np.uint8(255), np.uint8(0))
        digest = hashlib.sha256()
        for picture in (noise, extreme, np.full_like(noise, 255)):
            digest.update(np.ascontiguousarray(self.session.run(picture)).tobytes())
        return digest.hexdigest()

    def check_halo(self) -> None:
        """Raise WeightsError if results depend on positions beyond the halo."""
        noise, near = _noise(), 9
        found, window = self.session.run(noise), self.session.run(noise[..., : near + self.halo])
        if (found[..., :near] != window[..., :near]).any():
            raise WeightsError("a network looks further than its halo")


@functools.cache
def _noise() -> npt.NDArray[np.uint8]:
    """Inputs [1, 72, 11, 19] by Knuth's multiplicative hash: the same everywhere."""
    ramp = np.arange(INPUTS * 11 * 19, dtype=np.uint64) * np.uint64(2654435761) % np.uint64(1 << 32)
    return (ramp >> np.uint64(24)).astype(np.uint8).reshape(1, INPUTS, 11, 19)
