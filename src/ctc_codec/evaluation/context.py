"""What the context models are worth on whole images, plane by plane, before they are in the codec.

Ideal code lengths of the trits of each plane, all planes above being known, by the table's probabilities
and by CRR's; PSNR of the picture from the planes down to each, without and with CDR.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from .._config import LATENT_STRIDE
from .._image import Pixels, psnr
from .._planes import MAX_TRITS
from ..training.context import Latent
from ..training.model import TrainingModel
from .images import image_files, read_image

DEEPEST = MAX_TRITS - 1


@dataclass(frozen=True)
class PlaneResult:
    """Means over images; rates in bits per pixel of this plane alone, PSNR with it decoded."""

    plane: int
    bpp_table: float
    bpp_crr: float
    psnr_table: float
    psnr_cdr: float


@torch.no_grad()
def measure_planes(model: TrainingModel, folder: Path) -> list[PlaneResult]:
    """The planes of the images in a folder, most significant first. ``model`` has context models."""
    rows = []
    for path in image_files(folder):
        pixels = read_image(path).pixels
        height, width = pixels.shape[:2]
        original = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
        pad = (0, -width % LATENT_STRIDE, 0, -height % LATENT_STRIDE)
        latent, mu = Latent.of(model, F.pad(original, pad, mode="replicate"))

        def quality(residual: torch.Tensor, mu: torch.Tensor = mu, pixels: Pixels = pixels) -> float:
            x_hat = model.synthesis(mu + residual)[0].permute(1, 2, 0).clamp(0, 1)
            return psnr((x_hat * 255).round().byte().numpy()[: pixels.shape[0], : pixels.shape[1]], pixels)

        planes = []
        for plane in range(DEEPEST, -1, -1):
            at = torch.tensor(plane)
            table, reduced, active = latent.trit_bits(latent.state(at + 1), at)
            after = latent.state(at)
            bits = [float((t * active).sum()) / (width * height) for t in (table, reduced)]
            planes.append([*bits, quality(after.mean), quality(latent.refined(after))])
        rows.append(planes)
    means = np.mean(rows, axis=0)
    return [
        PlaneResult(plane, *(float(v) for v in row))
        for plane, row in zip(range(DEEPEST, -1, -1), means, strict=True)
    ]
