"""The trainable model of stage 1 and its loss: rate plus distortion at random partial states."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._config import ModelConfig
from .._context import DistortionReduction, RateReduction
from .._hyperprior import FactorizedPrior, HyperAnalysis, HyperSynthesis
from .._planes import LEVEL_STEP, LEVELS, MEAN_SCALE, PRIORITY_SCALE, SIGMA_MIN, TreeTables, build_tables
from .._state import SLOPE_SCALE, StateTables, level_tables, trit_slopes
from .._transforms import Analysis, Synthesis
from .data import PatchStore
from .priorities import channel_priorities

CUT_SHARES = (0.28, 0.28, 0.22, 0.14, 0.05, 0.02, 0.01)
"""How often training sees 1, 2, ... missing planes: from 4 on, less than 0.04 bpp are left."""

PLANE_DISTORTION = 3.0
"""About how much the MSE grows with every missing plane, over the whole range of planes."""

PLANE_RATE = 2.4
"""About how much the rate shrinks with every missing plane (measured: 2.2, 2.5, 2.5)."""
_WEIGHTED_PLANES = 3
"""So many missing planes at most raise the weight of the rate that is left."""

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

    Beyond 8 sigma the bits grow with the logarithm of the distance instead of its square (the coder clips
    there, see :func:`ctc_codec._planes.clip_residual`), or a few outliers would drown all other gradients.
    Up to there the difference of two upper tails is exact enough in float32: within 3e-4 bits.
    """
    distance = residual.abs()
    inside = torch.minimum(distance, _OUTLIER_SIGMAS / inverse_sigma + 0.5)
    scale = inverse_sigma * math.sqrt(0.5)
    p = 0.5 * (torch.special.erfc((inside - 0.5) * scale) - torch.special.erfc((inside + 0.5) * scale))
    beyond = F.relu((distance.clamp(min=1e-6) * inverse_sigma / _OUTLIER_SIGMAS).log())
    return (_OUTLIER_SIGMAS**2 * beyond - p.log()) / math.log(2)


class TreeState(NamedTuple):
    """What the decoder knows of residuals; all [B, N, h, w]."""

    trits: Tensor
    """Trits of the element."""
    drop: Tensor
    """Trits of the element that are not known yet."""
    node: Tensor
    """Node of the level's tree."""
    mean: Tensor
    """Conditional mean of the residual, float32, in quantiser steps."""
    low: Tensor
    """Lowest value of the node's interval, float32."""
    high: Tensor
    """Highest value of the node's interval, float32."""


class TrainingModel(nn.Module):
    """Analysis, synthesis and hyperprior with the straight-through trit-plane quantiser.

    With ``context`` also CRR and CDR (:mod:`ctc_codec._context`), else ``crr`` and ``cdr`` are None.
    """

    trits: Tensor
    bases: Tensor
    means: Tensor
    powers: Tensor
    log_frequencies: Tensor
    priorities: Tensor
    channel_priority: Tensor
    features: Tensor
    slopes: Tensor

    def __init__(
        self, config: ModelConfig, tables: TreeTables | None = None, *, context: bool = False
    ) -> None:
        super().__init__()
        tables = tables or build_tables()
        self.config = config
        self.analysis = Analysis(config)
        self.synthesis = Synthesis(config)
        self.hyper_analysis = HyperAnalysis(config)
        self.hyper_synthesis = HyperSynthesis(config)
        self.prior = FactorizedPrior(config.hyper_channels)
        self.crr: RateReduction | None = None
        self.cdr: DistortionReduction | None = None
        powers = 3 ** np.arange(int(tables.trits.max()) + 1)
        for name, table in (
            ("trits", tables.trits),
            ("bases", tables.bases),
            ("means", tables.means),
            ("powers", powers),
            ("priorities", tables.priorities.astype(np.int32)),
            ("channel_priority", np.zeros(config.latent_channels, np.int32)),
            ("log_frequencies", np.log(np.maximum(tables.frequencies, 1)).astype(np.float32)),
        ):
            self.register_buffer(name, torch.from_numpy(table.copy()), persistent=False)
        self._tables = tables
        if context:
            self.add_context()

    def add_context(self) -> None:
        """Begin CRR and CDR, with zeros at their ends, if they are not there yet."""
        if self.crr is not None:
            return
        device = self.analysis.log_gain.device
        self.crr = RateReduction(self.config).to(device)
        self.cdr = DistortionReduction(self.config).to(device)
        states = StateTables.of(self._tables, *level_tables(), trit_slopes(self._tables))
        for name, table in (("features", states.features), ("slopes", states.slopes / SLOPE_SCALE)):
            self.register_buffer(name, torch.from_numpy(table).to(device), persistent=False)

    @torch.no_grad()
    def begin_cdr(self) -> None:
        """Let an untrained CDR begin with what CRR knows: it too predicts the shift of every distribution."""
        assert self.crr is not None
        assert self.cdr is not None
        begun, known = self.cdr.network, self.crr.network
        if begun.leave.weight.any() or begun.own.weight.any():
            return
        shift = {
            name: tensor.view(-1, known.outputs, *tensor.shape[1:])[:, 0]
            for name, tensor in known.state_dict().items()
            if name.startswith(("leave.", "own."))
        }
        begun.load_state_dict(known.state_dict() | shift)

    def measure_channel_priority(self, store: PatchStore) -> None:
        """Take the priorities that an export would give the channels: in their order trits become known."""
        measured = channel_priorities(self.analysis, self.synthesis, store).astype(np.int32)
        self.channel_priority.copy_(torch.from_numpy(measured))

    def channel_energy(self) -> Tensor:
        """Pixel energy of a unit error in each channel, relative to the median, float32 [N]; see
        :meth:`measure_channel_priority`."""
        return torch.exp2(self.channel_priority.float() / PRIORITY_SCALE)

    def offset(self, s: Tensor, count: Tensor) -> Tensor:
        """Residuals counted from the lowest value of their interval: the number that ``count`` trits
        write. Integers, all of one shape."""
        half = (self.powers[count] - 1) // 2
        return s.clamp(-half, half) + half

    @torch.no_grad()
    def tree_state(self, s: Tensor, level: Tensor, missing: Tensor) -> TreeState:
        """What the decoder knows of residuals when the last planes are missing.

        s, level: integers [B, N, h, w]; missing: number of missing planes, integers that broadcast to
        that shape.
        """
        count = self.trits[level]
        half = (self.powers[count] - 1) // 2
        offset = self.offset(s, count)
        drop = torch.minimum(missing, count)
        width = self.powers[drop]
        first = offset // width
        node = self.bases[level] + (self.powers[count - drop] - 1) // 2 + first
        low = first * width - half
        mean = self.means[node].float() / MEAN_SCALE
        return TreeState(count, drop, node, mean, low.float(), (low + width - 1).float())

    def entropy_parameters(self, z: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Level (a real number, 0..79) and mu for hyper-latents z, cut to the size of latent ``like``."""
        level, mu = self.hyper_synthesis(_round_through(z))
        level, mu = (t[..., : like.shape[2], : like.shape[3]] for t in (level, mu))
        return _LowerBound.apply(level, 0.0).clamp(max=LEVELS - 1), mu

    @torch.no_grad()
    def quantised(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Residuals and levels, int32, and mu, float32, [B, N, h, w] each, of images [B, 3, 16h, 16w]."""
        y = self.analysis(x)
        level, mu = self.entropy_parameters(self.hyper_analysis(y), y)
        return integers(y - mu), integers(level), mu

    def known_bits(self, residual: Tensor, inverse_sigma: Tensor, state: TreeState) -> Tensor:
        """Bits of the trits that are known: those of the node's interval, straight through to the residual.
        Float32, same shape as the residual."""
        width = self.powers[state.drop].float()
        centre = residual + ((state.low + state.high) / 2 - residual).detach()
        return gaussian_bits(centre / width, inverse_sigma * width)

    def forward(self, x: Tensor, missing: Tensor) -> dict[str, Tensor]:
        """x: float [B, 3, 16h, 16w] in 0..1; missing: int [B], planes hidden from the decoder.

        Returns the reconstruction ``x_hat`` and, per image, float32 [B], the bits of z, those of y at full
        rate (with uniform noise in place of rounding) and ``bits_known``, those of the trits of y that the
        decoder has.
        """
        y = self.analysis(x)
        z = self.hyper_analysis(y)
        bits_z = _bits(self.prior.likelihood(z + torch.rand_like(z) - 0.5)).sum((1, 2, 3))
        level, mu = self.entropy_parameters(z, y)
        inverse_sigma = torch.exp(level * -LEVEL_STEP) / SIGMA_MIN
        bits_y = gaussian_bits(y - mu + torch.rand_like(y) - 0.5, inverse_sigma).sum((1, 2, 3))
        s, index = integers(y - mu), integers(level)
        hidden = missing.int()[:, None, None, None]
        state = self.tree_state(s, index, hidden)
        y_hat = y + (mu + state.mean - y).detach()
        # Where a cut hides all trits, the decoder's picture depends on mu and not on y: so does the
        # gradient. (At full rate it goes to y even there, or channels once silent would stay so.)
        y_hat = torch.where((hidden > 0) & (state.trits <= hidden), mu, y_hat)
        bits_known = self.known_bits(y - mu, inverse_sigma, state).sum((1, 2, 3))
        return {
            "x_hat": self.synthesis(y_hat),
            "bits_y": bits_y,
            "bits_z": bits_z,
            "bits_known": torch.where(missing > 0, bits_known, bits_y),
        }


def integers(t: Tensor) -> Tensor:
    """Rounded, int32, no gradient. Not a number becomes 0: the loss is what reports it, where an index
    out of a table would crash."""
    return t.detach().nan_to_num(0).clamp(-1e6, 1e6).round().int()


def draw_missing(batch: int, full_share: float, generator: torch.Generator, device: torch.device) -> Tensor:
    """Numbers of missing planes, int64 [batch]: 0 with probability ``full_share``, else 1..7 as
    CUT_SHARES says."""
    shares = torch.tensor(CUT_SHARES, device=device)
    cut = 1 + torch.multinomial(shares, batch, replacement=True, generator=generator)
    full = torch.rand(batch, generator=generator, device=device) < full_share
    return torch.where(full, 0, cut)


def weighted_distortion(
    x_hat: Tensor, x: Tensor, missing: Tensor, lmbda: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """``lambda 255^2 MSE`` per image, float32 [B], with a smaller lambda for every missing plane.

    Each plane's MSE is divided by about what it is relative to the full rate's, so that a decibel counts
    the same at every rate. (With lambda / 9 a plane, the slope of an ideal curve, low rates got no
    training to speak of: 23.8 dB at 0.1 bpp, less than the linear start's 25.1.)

    Also returns, for the log and detached, the sum of MSEs at full rate and their count.
    """
    mse = (x_hat.float() - x).square().mean((1, 2, 3))
    full = missing == 0
    metrics = {"full_mse": (mse.detach() * full).sum(), "full_count": full.sum()}
    return lmbda * 255**2 * mse * PLANE_DISTORTION**-missing, metrics


def rate_distortion_loss(
    out: dict[str, Tensor],
    x: Tensor,
    missing: Tensor,
    lmbda: float,
    z_weight: Tensor | float = 1.0,
    prefix_share: float = 0.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """``bpp + lambda 255^2 MSE``, with the lambda of :func:`weighted_distortion`.

    ``prefix_share`` of the rate is that of the prefix that the decoder has, divided by about what it is
    relative to the full rate's: as with the distortion, a percent then counts the same at every rate.

    ``z_weight`` is that of z's rate. Near 0 it lets z become useful before its own rate counts: with its
    full weight from the first step z collapses to a constant (seen: 0.004 bpp, and a loss stuck at that of
    static sigmas).

    Returns the loss to minimise, and for the log, detached: the loss with the plain full rate, bpp, bpp of
    z, the sum of MSEs at full rate and their count.
    """
    pixels = x.shape[2] * x.shape[3]
    distortion, metrics = weighted_distortion(out["x_hat"], x, missing, lmbda)
    bpp_y, bpp_z, known = (out[name] / pixels for name in ("bits_y", "bits_z", "bits_known"))
    growth = prefix_share * PLANE_RATE ** missing.clamp(max=_WEIGHTED_PLANES)
    loss = distortion + (1 - prefix_share) * bpp_y + growth * known
    loss = loss + z_weight * (1 - prefix_share + growth) * bpp_z
    metrics |= {
        "loss": (bpp_y + bpp_z + distortion).detach().mean(),
        "bpp": (bpp_y + bpp_z).detach().mean(),
        "bpp_z": bpp_z.detach().mean(),
    }
    return loss.mean(), metrics
