"""Figures of networks on held-out photographs: while they are trained, and as a codec."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..image.source import psnr
from .data import Pixels
from .networks import Networks
from .objective import error_left, example
from .partial_latent import PartialLatent

FIGURES = ("val_bpp", "val_psnr", "val_db")
SIDE = 256
_PICTURES = 4
_PLANES = (1, 2, 3, 4)
_SHARES = (0.0, 0.5, 1.5)
_CODED_SIDE = 512
_RATES = (0.1, 0.25, 0.5, 1.0)
"""Bits per pixel at which files are cut."""


def middles(pictures: Sequence[Pixels], side: int = SIDE, count: int = _PICTURES) -> list[Pixels]:
    """The middles of the first pictures uint8 [h, w, 3], at most ``side`` a side; sides multiples of 64."""
    found = []
    for picture in pictures:
        sides = [min(whole // 64 * 64, side) for whole in picture.shape[:2]]
        if min(sides):
            top, left = ((whole - part) // 2 for whole, part in zip(picture.shape[:2], sides, strict=True))
            found.append(picture[top : top + sides[0], left : left + sides[1]])
    return found[:count]


@torch.no_grad()
def validate(networks: Networks, pictures: Sequence[Pixels], means: Tensor) -> dict[str, float]:
    """The figures FIGURES, means over pictures, planes and shares known: bits per pixel of the trits to come
    by integer networks; PSNR of the picture of conditional means and gain of the synthesis network, in dB.

    pictures: uint8 [h, w, 3] with sides of multiples of 64.
    means: the tensor of that name of weights files.
    """
    crr, device = networks.crr, means.device
    before = float(crr.quantised)
    crr.quantised.fill_(1)
    rows = []
    for pixels in pictures:
        planes, shares = zip(*itertools.product(_PLANES, _SHARES), strict=True)
        latent = PartialLatent.of(pixels, *planes, device=device)
        latent.reveal(torch.tensor(shares, device=device), latent.look(crr))
        now = latent.look(crr)
        shown = example(latent, now, means)
        error = (shown.refined - shown.planes).square().mean((1, 2, 3)) / 255**2
        rate = latent.trit_bits(now) / (pixels.shape[0] * pixels.shape[1])
        left = error_left(networks.synthesis, shown)
        rows.append(torch.stack((rate, -10 * error.log10(), -10 * left.log10())).mean(1))
    crr.quantised.fill_(before)
    return dict(zip(FIGURES, torch.stack(rows).mean(0).tolist(), strict=True))


def coded_figures(weights: Path, pictures: Sequence[Pixels]) -> list[float]:
    """PSNR in dB, means over pictures, of files cut at _RATES, and bits per pixel of whole default files."""
    from .. import decode, encode, load_model

    model = load_model(weights)
    found = []
    for pixels in middles(pictures, _CODED_SIDE):
        area = pixels.shape[0] * pixels.shape[1]
        data = encode(Image.fromarray(pixels), weights=model)
        row = [psnr(pixels, np.asarray(decode(data, bpp=rate, weights=model))) for rate in _RATES]
        found.append([*row, 8 * len(data) / area])
    return [statistics.fmean(column) for column in zip(*found, strict=True)]


def comparison(new: Path, old: Path, pictures: Sequence[Pixels]) -> Iterator[str]:
    """Lines with the codec's figures for two weights files on pictures uint8 [h, w, 3]."""
    for path in (new, old):
        *psnr, bpp = coded_figures(path, pictures)
        cuts = " / ".join(f"{value:.2f}" for value in psnr)
        yield f"{path}: {cuts} dB at {' / '.join(f'{r:g}' for r in _RATES)} bpp, whole files {bpp:.4f} bpp"
