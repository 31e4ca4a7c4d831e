"""CRR in integers: the probabilities that context gives, the same on every machine.

Weights and activations fit 8 bits and a sign, and every sum stays below 2^24 (checked at load). So float32
holds all of them exactly, in whatever order a library adds them up, and even a library told to multiply in
TF32 or bfloat16 changes nothing: operands fit those too, and sums are kept in float32.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ._context import (
    ACTIVATION_MAX,
    LEAK,
    LEVEL_CENTRE,
    LOG_SCALE_MAX,
    SHIFT_MAX,
    ContextNetwork,
)
from ._errors import WeightsError
from ._exact import ExactConv, quantise_conv
from ._planes import FREQUENCY_BITS, LEVELS, LevelArray
from ._state import (
    FEATURE_LIMIT,
    FEATURE_SCALE,
    FEATURES,
    ODDS_SCALE,
    SLOPE_SCALE,
    StateTables,
    exp2_table,
)
from ._tiles import tiles

LAYERS = ("enter", "mix", "spread", "join", "leave", "own")
OPERAND_LIMIT = 255
SUM_LIMIT = float(1 << 24)

_FEATURE_BITS = FEATURE_SCALE.bit_length() - 1
_ACTIVATION_BITS = 5
_ACTIVATION_LIMIT = int(ACTIVATION_MAX) * (1 << _ACTIVATION_BITS) - 1
_OUTPUT_BITS = 6
_SHIFT_LIMIT = int(SHIFT_MAX * (1 << _OUTPUT_BITS))
_LOG_SCALE_LIMIT = int(LOG_SCALE_MAX * (1 << _OUTPUT_BITS))
_PRODUCT_STEP = 1.0 / (SLOPE_SCALE * (1 << _OUTPUT_BITS) // ODDS_SCALE)

_FROM_ACTIVATIONS = {"mix", "spread", "join", "leave"}
_ODDS_LIMIT = 1536
_EXP2_BITS = 30
_EXP2 = exp2_table(2 * _ODDS_LIMIT + 1, _EXP2_BITS)


def _activation(t: Tensor) -> Tensor:
    t = t.clamp(-_ACTIVATION_LIMIT, _ACTIVATION_LIMIT)
    return torch.maximum(t, torch.floor(t * LEAK + 0.5))


def frequencies_of(odds: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Frequencies of trits, float32 [n, 3] of whole numbers that add up to 2^16, each at least 1.

    odds: whole numbers [n, 2], log2 of the first and last trit's probability over the middle one's in 1/64.
    Integer arithmetic in float64: quotients of whole numbers below 2^53 cannot round to the next whole one
    here, the divisor being below 2^32.
    """
    first, last = np.clip(odds, -_ODDS_LIMIT, _ODDS_LIMIT).astype(np.int32).T
    top = np.maximum(np.maximum(first, last), 0)
    weights = [_EXP2[top - first], _EXP2[top], _EXP2[top - last]]
    total = (1 << FREQUENCY_BITS) - 3
    whole = weights[0] + weights[1] + weights[2]
    parts = [1 + np.floor(weight * total / whole) for weight in weights]
    missing = total + 3 - (parts[0] + parts[1] + parts[2])
    out = np.empty((len(first), 3), np.float32)
    is_first, is_middle = first == top, top == 0
    out[:, 0] = parts[0] + missing * is_first
    out[:, 1] = parts[1] + missing * (is_middle & ~is_first)
    out[:, 2] = parts[2] + missing * ~(is_middle | is_first)
    return out


_HALO = 2
"""Positions to each side that the networks look at."""


class ExactRateReduction:
    """Integer twin of :class:`ctc_codec._context.RateReduction`. Always on the CPU."""

    def __init__(self, layers: dict[str, ExactConv], tables: StateTables) -> None:
        """layers: float32 convolutions; "enter" takes features and levels together."""
        self.layers = layers
        self.tables = tables
        for name in LAYERS:
            layer = layers[name]
            if float(layer.weight.abs().max()) > OPERAND_LIMIT:
                raise WeightsError("context layer does not fit its type")
            limit = _ACTIVATION_LIMIT if name in _FROM_ACTIVATIONS else FEATURE_LIMIT
            layer.validate(limit, SUM_LIMIT)
        self._dynamic = FEATURES * layers["own"].groups
        if LEVELS - LEVEL_CENTRE > FEATURE_LIMIT:
            raise WeightsError("levels do not fit the context model's type")

    @classmethod
    def from_float(cls, network: ContextNetwork, tables: StateTables) -> ExactRateReduction:
        """Quantise a trained network: 8-bit weights, activations in 1/32."""
        layers = {}
        for name in LAYERS:
            conv = getattr(network, name)
            weight, bias = conv.weight, conv.bias
            if name == "enter":
                weight = torch.cat((weight, network.static.weight), dim=1)
            if bias is None:
                bias = torch.zeros(len(weight))
            source = _ACTIVATION_BITS if name in _FROM_ACTIVATIONS else _FEATURE_BITS
            bits = _OUTPUT_BITS if name in ("leave", "own") else _ACTIVATION_BITS
            limit = _ACTIVATION_LIMIT if name in _FROM_ACTIVATIONS else FEATURE_LIMIT
            layers[name] = quantise_conv(
                weight,
                bias,
                source,
                torch.full((len(weight),), float(bits)),
                operand_limit=OPERAND_LIMIT,
                input_limit=limit,
                sum_limit=SUM_LIMIT,
                per_channel=True,
                groups=conv.groups,
            ).to(torch.float32)
        return cls(layers, tables)

    @torch.no_grad()
    def to_float(self, network: ContextNetwork) -> None:
        """Put the integers' values back into a float network: what :meth:`from_float` rounded them to."""
        for name in LAYERS:
            layer, conv = self.layers[name], getattr(network, name)
            source = _ACTIVATION_BITS if name in _FROM_ACTIVATIONS else _FEATURE_BITS
            bits = _OUTPUT_BITS if name in ("leave", "own") else _ACTIVATION_BITS
            fraction = layer.shift - source + bits
            weight = layer.weight / 2 ** fraction[:, None, None, None]
            if name == "enter":
                network.static.weight.copy_(weight[:, self._dynamic :])
                weight = weight[:, : self._dynamic]
            conv.weight.copy_(weight)
            if conv.bias is not None:
                conv.bias.copy_(layer.bias / 2 ** (fraction + source))

    @torch.inference_mode()
    def begin(self, level: LevelArray) -> Tensor:
        """What levels uint8 [N, h, w] contribute, the same for all states: float32 [1, W, h, w]."""
        centred = torch.from_numpy(level.astype(np.float32) - LEVEL_CENTRE)[None]
        with torch.autocast("cpu", enabled=False):
            return self.layers["enter"].accumulate(centred, slice(self._dynamic, None))

    @torch.inference_mode()
    def parameters(self, node: npt.NDArray[np.int32], static: Tensor) -> tuple[npt.NDArray[np.float32], ...]:
        """Shift (sigmas) and change of log sigma of every element, whole numbers in 1/64, float32
        [N * h * w] each.

        node: int32 [N, h, w], the state; static: of :meth:`begin`.
        """
        n, h, w = node.shape
        seen = np.empty((n, FEATURES, h, w), np.float32)
        for i, feature in enumerate(self.tables.features):
            seen[:, i] = feature[node]
        with torch.autocast("cpu", enabled=False):
            features = torch.from_numpy(seen).view(1, n * FEATURES, h, w)
            layers = self.layers
            enter = layers["enter"].accumulate(features, slice(self._dynamic)) + static
            t = _activation(layers["enter"].rescale(enter))
            u = _activation(layers["spread"](_activation(layers["mix"](t))))
            t = _activation(t + layers["join"](u))
            out = (layers["leave"](t) + layers["own"](features)).view(n, 2, -1)
        shift = out[:, 0].clamp(-_SHIFT_LIMIT, _SHIFT_LIMIT)
        log_scale = out[:, 1].clamp(-_LOG_SCALE_LIMIT, _LOG_SCALE_LIMIT)
        return shift.reshape(-1).numpy(), log_scale.reshape(-1).numpy()

    def frequencies(
        self,
        node: npt.NDArray[np.int32],
        shift: npt.NDArray[np.float32],
        log_scale: npt.NDArray[np.float32],
    ) -> npt.NDArray[np.float32]:
        """Frequencies of the next trits, float32 [n, 3], of inner nodes int32 [n] whose elements have these
        parameters."""
        slopes = self.tables.slopes[node]
        moved = shift[:, None] * slopes[:, :2] + log_scale[:, None] * slopes[:, 2:]
        return frequencies_of(self.tables.odds[node] + np.floor(moved * np.float32(_PRODUCT_STEP) + 0.5))

    def known_answer(self) -> str:
        """SHA-256 of frequencies for fixed states."""
        n, h, w = self.layers["own"].groups, 3, 5
        # Knuth's multiplicative hash: all nodes, the same everywhere.
        ramp = np.arange(n * h * w, dtype=np.int64) * 2654435761 % (1 << 32)
        inner = np.flatnonzero(self.tables.slopes.any(axis=1))
        node = inner[ramp * len(inner) >> 32].astype(np.int32).reshape(n, h, w)
        level = (ramp * LEVELS >> 32).astype(np.uint8).reshape(n, h, w)
        found = self.frequencies(node.reshape(-1), *self.parameters(node, self.begin(level)))
        return hashlib.sha256(found.astype("<i4").tobytes()).hexdigest()


class ExactContext:
    """What the context model says of every element of an image, renewed before every slice; in tiles."""

    def __init__(self, crr: ExactRateReduction, level: LevelArray) -> None:
        """level: uint8 [N, h, w]."""
        self._crr = crr
        _, h, w = level.shape
        self._tiles = list(tiles(h, w, _HALO))
        self._static = torch.empty(1, len(crr.layers["enter"].bias), h, w, dtype=torch.float32)
        for tile in tiles(h, w, 0):
            self._static[..., *tile.core] = crr.begin(level[:, *tile.core])
        self._shift: npt.NDArray[np.int16] = np.empty(level.shape, np.int16)
        self._log_scale: npt.NDArray[np.int8] = np.empty(level.shape, np.int8)

    def refresh(self, node: npt.NDArray[np.int32]) -> None:
        """Look at the state, int32 [N, h, w]."""
        for tile in self._tiles:
            seen = node[:, *tile.outer]
            shift, log_scale = (
                part.reshape(seen.shape)[:, *tile.inner]
                for part in self._crr.parameters(seen, self._static[..., *tile.outer])
            )
            self._shift[:, *tile.core], self._log_scale[:, *tile.core] = shift, log_scale

    def frequencies(
        self, node: npt.NDArray[np.int32], elements: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.float32]:
        """See :meth:`ExactRateReduction.frequencies`; node: int32 [n], of elements [n]."""
        shift, log_scale = self._shift.reshape(-1)[elements], self._log_scale.reshape(-1)[elements]
        return self._crr.frequencies(node, shift.astype(np.float32), log_scale.astype(np.float32))
