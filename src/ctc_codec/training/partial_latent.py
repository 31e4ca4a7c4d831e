"""A batch of latents while a plane is coded: :mod:`ctc_codec.planes.state` in tensors."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..crr.density import DISTANCES, ROWS, SCALE_STEP, SCALE_ZERO, SCALES
from ..crr.inputs import ONE
from ..planes.order import DEMOTION
from ..planes.trits import unit as unit_of
from ..transform.lifting import LEVELS
from .data import Pixels
from .networks import CRR, Density, bits, priority, thirds
from .tables import CLASS_SCALE
from .wavelet import analyse, rotate, synthesise, synthesise_level

_BINS = 2048
"""Bins of priorities, in place of a sort."""


def _doubled(x: Tensor) -> Tensor:
    """Each sample four times, [B, C, 2 h, 2 w]."""
    b, c, h, w = x.shape
    return x[:, :, :, None, :, None].expand(b, c, h, 2, w, 2).reshape(b, c, 2 * h, 2 * w)


def _signed_log(x: Tensor) -> Tensor:
    return torch.sign(x) * torch.log1p(x.abs())


def _less_local_mean(x: Tensor) -> Tensor:
    return x - F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, 1)


class PartialLatent:
    """Latents at a plane of their own each.

    planes: the pictures, float32 [B, 3, H, W], sides multiples of 64.
    unit: of the plane, grey levels, float32 [B].
    size: the same, [B, 1, 1, 1].
    details: coefficients of every level, finest first, grey levels, [B, 9, h, w].
    low: the low band at the plane, grey levels, [B, 3, h, w].
    value: of every level, finest first, the elements at the plane, float32 [B, 9, h, w].
    above: likewise, the elements at the plane above.
    trit: likewise, -1, 0 or 1.
    known: likewise, 1 where the trit is known.
    """

    def __init__(self, planes: Tensor, unit: Tensor) -> None:
        """The state at the plane's beginning."""
        size = unit[:, None, None, None]
        self.planes, self.unit, self.size = planes, unit, size
        low, self.details = analyse(planes)
        self.low = torch.round(low / size) * size
        self.value = [torch.round(level / size) for level in self.details]
        self.above = [torch.floor((value + 1) / 3) for value in self.value]
        self.trit = [value - 3 * above for value, above in zip(self.value, self.above, strict=True)]
        self.known = [torch.zeros_like(value) for value in self.value]

    @classmethod
    def of(cls, pixels: Pixels, *planes: int, device: torch.device | None = None) -> PartialLatent:
        """A batch of one picture, uint8 [H, W, 3], at each of the planes."""
        samples = torch.from_numpy(pixels.copy()).permute(2, 0, 1).to(device).float()
        units = torch.tensor([unit_of(plane) for plane in planes], device=device)
        return cls(rotate(samples.expand(len(planes), -1, -1, -1)), units)

    def seen(self, level: int) -> Tensor:
        """Middles of the elements' intervals, in units."""
        known = self.known[level]
        return self.value[level] * known + 3 * self.above[level] * (1 - known)

    def width(self, level: int) -> Tensor:
        """Widths of the intervals, in units."""
        return 3 - 2 * self.known[level]

    # --- CRR ----------------------------------------------------------------------------------------

    def reconstruction(self, level: int) -> Tensor:
        """Details of the context's picture, in units, see :func:`ctc_codec.crr.inputs.reconstruction`."""
        seen, known = self.seen(level), self.known[level]
        intervals = seen.abs() / self.width(level)
        one, two, three = ((intervals > n - 0.5).float() for n in (1, 2, 3))
        drawn = torch.where(known > 0, 2 * one - two - three, 5 * one - 3 * two - three)
        return torch.sign(seen) * (seen.abs() - drawn / ONE)

    def inputs(self, level: int, context: Tensor) -> Tensor:
        """The network's inputs of a level, see :mod:`ctc_codec.crr.inputs`, not yet rounded: [B, 72, h, w].

        context: prediction of the coarser levels alone, in units, [B, 3, h, w].
        """
        seen, known = self.seen(level), self.known[level]
        if level + 1 < LEVELS:
            parents, parents_known = _doubled(self.seen(level + 1)), _doubled(self.known[level + 1])
        else:
            parents, parents_known = torch.zeros_like(seen), torch.ones_like(seen)
        children = F.avg_pool2d(self.seen(level - 1).abs(), 2) * 4 if level else torch.zeros_like(seen)
        predicted = _less_local_mean(context)
        plane = torch.log2(self.unit) / 4 - 1
        place = torch.stack((torch.full_like(plane, level / 5), plane, torch.zeros_like(plane)), 1)
        planes = (
            _signed_log(predicted * 2),
            _signed_log(predicted / 4),
            _signed_log(parents),
            torch.log1p(parents.abs()),
            parents_known,
            _signed_log(seen),
            torch.log1p(seen.abs()),
            known,
            torch.log1p(children),
            place[:, :, None, None].expand(-1, -1, *seen.shape[2:]),
        )
        return torch.cat(planes, 1).contiguous(memory_format=torch.channels_last)

    def look(self, crr: CRR) -> list[Density]:
        """CRR's densities of every level in this state, finest first."""
        out: list[Density] = []
        context = self.low / self.size
        for level in range(LEVELS - 1, -1, -1):
            out.insert(0, crr(level, self.inputs(level, context)))
            if level:
                context = synthesise_level(context, self.reconstruction(level))
        return out

    def reveal(self, share: Tensor, densities: list[Density]) -> None:
        """Make known the trits that are coded first, a share [B] of the plane's expected bits; all over 1."""
        batch = len(share)
        ranks, entropies = [], []
        for level, density in enumerate(densities):
            rank, entropy = priority(thirds(3 * self.above[level], 3.0, density))
            height, width = rank.shape[2:]
            row, column = (torch.arange(side, device=rank.device) for side in (height, width))
            odd = (row[:, None] + column) % 2
            ranks.append((rank - DEMOTION / CLASS_SCALE * odd).nan_to_num(0).clamp(0, 0.9999))
            entropies.append(entropy.flatten(1))
        bins = (torch.cat([rank.flatten(1) for rank in ranks], 1) * _BINS).long()
        histogram = torch.zeros(batch, _BINS, device=share.device).scatter_add_(
            1, bins, torch.cat(entropies, 1)
        )
        spent = histogram.flip(1).cumsum(1)
        found = torch.searchsorted(spent, share[:, None] * spent[:, -1:]).clamp(max=_BINS - 1)
        least = torch.where(share[:, None] <= 0, 2.0, (_BINS - 1 - found) / _BINS)
        self.known = [(rank >= least[:, :, None, None]).float() for rank in ranks]

    def trit_bits(self, densities: list[Density]) -> Tensor:
        """Bits of the trits that are not known yet, [B]."""
        total = torch.zeros_like(self.unit)
        for level, density in enumerate(densities):
            lengths = bits(self.trit[level], thirds(3 * self.above[level], 3.0, density))
            total = total + (lengths * (1 - self.known[level])).sum((1, 2, 3))
        return total

    def further_bits(self, densities: list[Density]) -> Tensor:
        """Bits of the next plane's trits, given those of this one, [B]."""
        total = torch.zeros_like(self.unit)
        for level, density in enumerate(densities):
            value = self.value[level]
            trit = (torch.round(3 * self.details[level] / self.size) - 3 * value).clamp(-1, 1)
            total = total + bits(trit, thirds(value, 1.0, density)).sum((1, 2, 3))
        return total

    # --- the picture --------------------------------------------------------------------------------

    def means(self, densities: list[Density], table: Tensor) -> list[Tensor]:
        """Conditional means of every level in grey levels, see :mod:`ctc_codec.synthesis.means`.

        table: the tensor ``means`` of a weights file, [4, rows].
        """
        out = []
        for level, (centre, log_scale) in enumerate(densities):
            x = 3 * self.above[level] - centre
            side = 1 - 2 * (x < 0).float()
            distance = (x.abs() * ONE).round().clamp(max=DISTANCES - 1)
            scale = ((log_scale + SCALE_ZERO) * SCALE_STEP).round().clamp(0, SCALES - 1)
            case = (side * self.trit[level] + 2) * self.known[level]
            row = case * ROWS + distance * SCALES + scale
            out.append((self.seen(level) + side * table.view(-1)[row.nan_to_num(0).long()]) * self.size)
        return out

    def picture(self, densities: list[Density], table: Tensor) -> Tensor:
        """Planes [B, 3, H, W] of the conditional means."""
        return synthesise(self.low, self.means(densities, table))

    def deviations(self, densities: list[Density]) -> tuple[Tensor, Tensor]:
        """The synthesis network's inputs of the two finest levels' densities, [B, 9, h, w] each."""
        fine, coarse = (
            torch.minimum(densities[level][1] / math.log(2), torch.log2(self.width(level) / 2)) / 4
            for level in range(2)
        )
        return fine, coarse
