"""Context models: what the trits decoded so far tell about the others (Jeon et al., CVPR 2023).

CRR (context-based rate reduction, section 3.2) predicts the probabilities of the next trits, CDR
(context-based distortion reduction, section 3.3) refines the partial latent. The paper has three
networks of each kind for ranges of planes; here there is one of each, conditioned on the state itself:
it serves every plane and every moment inside a plane.

These are the floating-point networks that training uses.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._config import ModelConfig

WIDTH = 256
BLOCKS = 2
STATE_FEATURES = 4
"""Per latent element: residual over sigma, its magnitude, reconstruction, width of the interval."""
STATIC_FEATURES = 2
"""Per latent element: sigma level and mu. They stay the same for all planes of an image."""

_LEAK = 1 / 8
_LIMIT = 16.0


def _activation(t: Tensor) -> Tensor:
    """Bounded and leaky, so that an integer twin has exact bounds."""
    t = t.clamp(-_LIMIT, _LIMIT)
    return torch.maximum(t, t * _LEAK)


class ContextBlock(nn.Module):
    """Residual block: 1x1, depthwise 5x5, 1x1; ends in zeros. Float [B, C, h, w] in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, channels, 1)
        self.spread = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.leave = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, t: Tensor) -> Tensor:
        return t + self.leave(_activation(self.spread(_activation(self.enter(t)))))


class ContextNetwork(nn.Module):
    """State of all elements to ``outputs`` numbers per element; 0.8 M MAC per latent position for N = 320.

    state: float32 [B, 4N, h, w]; static: float32 [B, 2N, h, w] (see STATE_FEATURES, STATIC_FEATURES).
    Returns float32 [B, outputs, N, h, w], zeros before training.
    """

    def __init__(self, config: ModelConfig, outputs: int) -> None:
        super().__init__()
        n = config.latent_channels
        self.outputs = outputs
        self.enter = nn.Conv2d(STATE_FEATURES * n, WIDTH, 1)
        self.static = nn.Conv2d(STATIC_FEATURES * n, WIDTH, 1)
        self.blocks = nn.Sequential(*(ContextBlock(WIDTH) for _ in range(BLOCKS)))
        self.leave = nn.Conv2d(WIDTH, outputs * n, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, state: Tensor, static: Tensor) -> Tensor:
        t = self.blocks(self.enter(state) + self.static(static))
        out = self.leave(_activation(t)).float()
        return out.view(out.shape[0], self.outputs, -1, *out.shape[2:])


class RateReduction(nn.Module):
    """CRR: log-odds to add to the table's. Two numbers per element move the outer trits' logits against
    each other and together against the middle one's: all that a softmax over three can be told."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.network = ContextNetwork(config, 2)

    def forward(self, state: Tensor, static: Tensor) -> Tensor:
        """Logits to add, float32 [B, 3, N, h, w]."""
        tilt, spread = self.network(state, static).unbind(1)
        return torch.stack((spread - tilt, -spread, spread + tilt), dim=1)


class DistortionReduction(nn.Module):
    """CDR: where in its interval an element probably lies."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.network = ContextNetwork(config, 1)

    def forward(self, state: Tensor, static: Tensor, mean: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Refined residuals, float32 [B, N, h, w], between ``low`` and ``high``.

        mean, low, high: conditional mean and ends of the interval, in quantiser steps.
        """
        shift = torch.tanh(self.network(state, static)[:, 0])
        return (mean + shift * (high - low) / 2).clamp(low, high)
