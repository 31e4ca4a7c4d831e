"""The trainable model of stage 1 and its loss: rate plus distortion at random partial states."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._config import ModelConfig
from .._hyperprior import FactorizedPrior, HyperAnalysis, HyperSynthesis
from .._planes import LEVELS, MEAN_SCALE, SIGMA_MAX, SIGMA_MIN, TreeTables, build_tables
from .._transforms import Analysis, Synthesis

DEEPEST_CUT = 7
"""Partial states seen in training miss up to this many planes."""

PLANE_DISTORTION = 3.0
"""About how much the MSE grows with every missing plane, over the whole range of planes."""


_OUTLIER_SIGMAS = 8.0


def _round_through(x: Tensor) -> Tensor:
    """Rounded value, identity gradient."""
    return x + (x.round() - x).detach()


class _LowerBound(torch.autograd.Function):
    """max(x, bound) whose gradient still passes where it would move x up."""

    @staticmethod
    def forward(ctx, x, bound):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        return torch.where((x >= ctx.bound) | (grad < 0), grad, 0), None


def _bits(p: Tensor) -> Tensor:
    return -_LowerBound.apply(p, 1e-9).log2()


def gaussian_bits(residual: Tensor, inverse_sigma: Tensor) -> Tensor:
    """Bits of the unit interval around ``residual`` under N(0, sigma), float32, same shape.

    From log-tails, so that an outlier of any size has a gradient; but beyond 8 sigma the bits grow with
    the logarithm of the distance instead of its square (the coder clips there, see
    :func:`ctc_codec._planes.clip_residual`), or a few outliers would drown all other gradients.
    """
    distance = residual.abs()
    inside = torch.minimum(distance, _OUTLIER_SIGMAS / inverse_sigma + 0.5)
    near = torch.special.log_ndtr((0.5 - inside) * inverse_sigma)
    far = torch.special.log_ndtr((-0.5 - inside) * inverse_sigma)
    log_p = near + (-torch.expm1((far - near).clamp(max=-1e-6))).log()
    beyond = F.relu((distance.clamp(min=1e-6) * inverse_sigma / _OUTLIER_SIGMAS).log())
    return (_OUTLIER_SIGMAS**2 * beyond - log_p) / math.log(2)


class TrainingModel(nn.Module):
    """Analysis, synthesis and hyperprior with the straight-through trit-plane quantiser."""

    trits: Tensor
    bases: Tensor
    means: Tensor
    powers: Tensor

    def __init__(self, config: ModelConfig, tables: TreeTables | None = None) -> None:
        super().__init__()
        tables = tables or build_tables()
        self.config = config
        self.analysis = Analysis(config)
        self.synthesis = Synthesis(config)
        self.hyper_analysis = HyperAnalysis(config)
        self.hyper_synthesis = HyperSynthesis(config)
        self.prior = FactorizedPrior(config.hyper_channels)
        powers = 3 ** np.arange(int(tables.trits.max()) + 1)
        for name, table in (
            ("trits", tables.trits),
            ("bases", tables.bases),
            ("means", tables.means),
            ("powers", powers),
        ):
            self.register_buffer(name, torch.from_numpy(table.copy()), persistent=False)

    @torch.no_grad()
    def partial_residual(self, s: Tensor, level: Tensor, missing: Tensor) -> Tensor:
        """What the decoder knows of residuals when the last planes are missing.

        s, level: integers [B, N, h, w]; missing: number of missing planes [B, 1, 1, 1].
        Returns the conditional means, float32, same shape.
        """
        count = self.trits[level]
        half = (self.powers[count] - 1) // 2
        offset = s.clamp(-half, half) + half
        drop = torch.minimum(missing, count)
        node = self.bases[level] + (self.powers[count - drop] - 1) // 2 + offset // self.powers[drop]
        return self.means[node].float() / MEAN_SCALE

    def forward(self, x: Tensor, missing: Tensor) -> dict[str, Tensor]:
        """x: float [B, 3, 16h, 16w] in 0..1; missing: int [B], planes hidden from the decoder.

        Returns the reconstruction ``x_hat`` and, per image, the bits of y and of z at full rate,
        float32 [B].
        """
        y = self.analysis(x)
        z = self.hyper_analysis(y)
        noise = torch.rand_like(z) - 0.5
        bits_z = _bits(self.prior.likelihood(z + noise)).sum((1, 2, 3))
        level, mu = self.hyper_synthesis(_round_through(z))
        level, mu = (t[..., : y.shape[2], : y.shape[3]] for t in (level, mu))

        level = _LowerBound.apply(level, 0.0).clamp(max=LEVELS - 1)
        step = math.log(SIGMA_MAX / SIGMA_MIN) / (LEVELS - 1)
        inverse_sigma = torch.exp(level * -step) / SIGMA_MIN
        residual = y - mu
        bits_y = gaussian_bits(residual + torch.rand_like(y) - 0.5, inverse_sigma).sum((1, 2, 3))

        # Not a number becomes 0 here: the loss reports it, an index out of a table would not.
        s, index = (t.detach().nan_to_num(0).clamp(-1e6, 1e6).round().int() for t in (residual, level))
        known = self.partial_residual(s, index, missing.int()[:, None, None, None])
        y_hat = y + (mu + known - y).detach()
        # Where a cut hides all trits, the decoder's picture depends on mu and not on y: so does the
        # gradient. (At full rate it goes to y even there, or channels once silent would stay so.)
        hidden = missing[:, None, None, None]
        y_hat = torch.where((hidden > 0) & (self.trits[index] <= hidden), mu, y_hat)
        return {"x_hat": self.synthesis(y_hat), "bits_y": bits_y, "bits_z": bits_z}


def draw_missing(batch: int, full_share: float, generator: torch.Generator, device: torch.device) -> Tensor:
    """Numbers of missing planes, int64 [batch]: 0 with probability ``full_share``, else 1..7."""
    cut = torch.randint(1, DEEPEST_CUT + 1, (batch,), generator=generator, device=device)
    full = torch.rand(batch, generator=generator, device=device) < full_share
    return torch.where(full, 0, cut)


def rate_distortion_loss(
    out: dict[str, Tensor], x: Tensor, missing: Tensor, lmbda: float, z_weight: Tensor | float = 1.0
) -> tuple[Tensor, dict[str, Tensor]]:
    """``bpp + lambda 255^2 MSE``, with a smaller lambda for every missing plane.

    Each plane's MSE is divided by about what it is relative to the full rate's, so that a decibel counts
    the same at every rate. (With lambda / 9 a plane, the slope of an ideal curve, low rates got no
    training to speak of: 23.8 dB at 0.1 bpp, less than the linear start's 25.1.)

    ``z_weight`` below 1 lets z become useful before its own rate counts: at full weight from the first
    step z collapses to a constant (seen: 0.004 bpp, and a loss stuck at that of static sigmas).

    Returns the loss to minimise, and for the log, detached: the loss at full weight of z, bpp, bpp of z,
    the sum of MSEs at full rate and their count.
    """
    pixels = x.shape[2] * x.shape[3]
    mse = (out["x_hat"].float() - x).square().mean((1, 2, 3))
    bpp = (out["bits_y"] + out["bits_z"]) / pixels
    loss = (bpp + lmbda * 255**2 * mse * PLANE_DISTORTION**-missing).mean()
    full = missing == 0
    metrics = {
        "loss": loss.detach(),
        "bpp": bpp.detach().mean(),
        "bpp_z": out["bits_z"].detach().mean() / pixels,
        "full_mse": (mse.detach() * full).sum(),
        "full_count": full.sum(),
    }
    return loss - (1 - z_weight) * out["bits_z"].mean() / pixels, metrics
