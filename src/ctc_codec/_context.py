"""Context models: what the trits decoded so far tell about the others (Jeon et al., CVPR 2023).

CRR (context-based rate reduction, section 3.2) predicts the probabilities of the next trits, CDR
(context-based distortion reduction, section 3.3) refines the partial latent. The paper has three
networks of each kind for ranges of planes; here there is one of each, conditioned on the state itself:
it serves every plane and every moment inside a plane.

Both look at the state through the same small integers (:class:`StateFeatures`). The networks here are the
floating-point ones, that training uses and CDR is; :mod:`ctc_codec._exact_context` holds CRR's integer twin.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ._config import ModelConfig
from ._planes import LEVELS, MEAN_SCALE, IntArray, LevelArray, TreeTables, sigma_of_level
from ._state import FEATURE_SCALE, FEATURES, Int8Array, node_intervals

WIDTH = 64
LEVEL_CENTRE = LEVELS // 2
"""Levels are seen from here, in 1/FEATURE_SCALE as the features are."""

ACTIVATION_MAX = 8.0
LEAK = 1 / 8
SHIFT_MAX, LOG_SCALE_MAX = 2.0, 1.0
"""CRR moves the centre of a distribution by so many sigmas at most, and log sigma by so much."""


def _activation(t: Tensor) -> Tensor:
    """Bounded and leaky, so that an integer twin has exact bounds."""
    t = t.clamp(-ACTIVATION_MAX, ACTIVATION_MAX)
    return torch.maximum(t, t * LEAK)


class ContextNetwork(nn.Module):
    """Features of all elements to ``outputs`` numbers per element; 0.16 M MAC per position for N = 320.

    Narrow on purpose: a training photograph has some hundred bits a position to learn from, and what
    contexts tell is a percent of them. Five times the width learned slower and generalised worse. Own
    neighbours of an element, the likeliest context, have a path of their own (``own``).

    features: float [B, N * FEATURES, h, w], channel by channel; static: float [B, N, h, w], see
    :func:`static_features`. Returns float32 [B, N, outputs, h, w], zeros before training.
    """

    def __init__(self, config: ModelConfig, outputs: int) -> None:
        super().__init__()
        n = config.latent_channels
        self.outputs = outputs
        self.enter = nn.Conv2d(FEATURES * n, WIDTH, 1)
        self.static = nn.Conv2d(n, WIDTH, 1, bias=False)
        self.mix = nn.Conv2d(WIDTH, WIDTH, 1)
        self.spread = nn.Conv2d(WIDTH, WIDTH, 5, padding=2, groups=WIDTH)
        self.join = nn.Conv2d(WIDTH, WIDTH, 1)
        self.leave = nn.Conv2d(WIDTH, outputs * n, 1)
        self.own = nn.Conv2d(FEATURES * n, outputs * n, 3, padding=1, groups=n, bias=False)
        for layer in (self.join, self.leave, self.own):
            nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor, static: Tensor) -> Tensor:
        t = _activation(self.enter(features) + self.static(static))
        u = _activation(self.spread(_activation(self.mix(t))))
        t = _activation(t + self.join(u))
        out = (self.leave(t) + self.own(features)).float()
        return out.view(out.shape[0], -1, self.outputs, *out.shape[2:])


def static_features(level: Tensor) -> Tensor:
    """What stays the same for all planes of an image: levels, float32 of the same shape."""
    return (level.float() - LEVEL_CENTRE) / FEATURE_SCALE


def stack_features(table: Tensor, node: Tensor) -> Tensor:
    """Features of nodes [B, N, h, w], float32 [B, N * FEATURES, h, w]. table: int8 [FEATURES, nodes]."""
    seen = torch.stack([feature[node] for feature in table], dim=2)
    return seen.flatten(1, 2).float() / FEATURE_SCALE


class RateReduction(nn.Module):
    """CRR: where the distribution of every residual really lies, relative to the hyperprior's.

    Two numbers an element, the shift of its centre in sigmas and the change of log sigma. What they mean for
    the next trit is in a table of slopes (:func:`ctc_codec._state.trit_slopes`), the same for all channels:
    so one number serves all planes, which the three probabilities of a trit would not.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.network = ContextNetwork(config, 2)

    def forward(self, features: Tensor, static: Tensor) -> tuple[Tensor, Tensor]:
        """Shift and change of log sigma, float32 [B, N, h, w] each; see :class:`ContextNetwork`."""
        shift, log_scale = self.network(features, static).unbind(2)
        return shift.clamp(-SHIFT_MAX, SHIFT_MAX), log_scale.clamp(-LOG_SCALE_MAX, LOG_SCALE_MAX)


class DistortionReduction(nn.Module):
    """CDR: where in its interval an element probably lies, from the shift of its distribution (in sigmas)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.network = ContextNetwork(config, 1)

    def forward(
        self, features: Tensor, static: Tensor, mean: Tensor, low: Tensor, high: Tensor, sigma: Tensor
    ) -> Tensor:
        """Refined residuals, float32 [B, N, h, w], between ``low`` and ``high``.

        mean, low, high: conditional mean and ends of the interval, sigma: of the level; in quantiser steps.
        """
        # The mean inside an interval moves with the centre of a normal distribution as the variance in there
        # over the whole one: about 1 for wide intervals, and little for those that leave little open.
        inside = torch.minimum(sigma, (high - low) * 12**-0.5)
        shift = self.network(features, static)[:, :, 0]
        return torch.clamp(mean + shift * inside.square() / sigma, low, high)


REFINER_HALO = 2
"""Positions to each side that it looks at."""


class Refiner(nn.Module):
    """CDR on the state that a decoder has."""

    means: Tensor
    low: Tensor
    high: Tensor
    sigma: Tensor
    features: Tensor

    def __init__(self, config: ModelConfig, tables: TreeTables, features: Int8Array) -> None:
        """features: int8 [FEATURES, nodes], of :func:`ctc_codec._state.node_features`."""
        super().__init__()
        self.cdr = DistortionReduction(config)
        low, high = node_intervals(tables)
        for name, table in (
            ("means", tables.means / MEAN_SCALE),
            ("low", low),
            ("high", high),
            ("sigma", sigma_of_level(np.arange(LEVELS))),
        ):
            self.register_buffer(name, torch.from_numpy(table.astype(np.float32)), persistent=False)
        self.register_buffer("features", torch.from_numpy(features), persistent=False)

    def forward(self, node: IntArray, level: LevelArray) -> Tensor:
        """What to add to the conditional means, float32 [1, N, h, w] in quantiser steps.

        node: int32 [N, h, w]; level: uint8 [N, h, w].
        """
        # Tensors of uint8 would be masks.
        at, of = (torch.from_numpy(t.astype(np.int32)).to(self.means.device)[None] for t in (node, level))
        mean = self.means[at]
        refined = self.cdr(
            stack_features(self.features, at),
            static_features(of),
            mean,
            self.low[at],
            self.high[at],
            self.sigma[of],
        )
        return refined - mean
