"""Pixels to a latent and back: the float networks around the entropy-coded part."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ._config import LATENT_STRIDE
from ._device import branch_precision
from ._hyperprior import Z_LIMIT
from ._image import Pixels
from ._model import CodecModel
from ._planes import MEAN_SCALE, IntArray
from ._stream import DecodedLatent


@torch.inference_mode()
def analyse(model: CodecModel, pixels: Pixels, device: torch.device) -> tuple[Tensor, IntArray]:
    """Latent y, float32 [N, h, w], and hyper-latent z, int32 [Cz, hz, wz], of an image."""
    height, width = pixels.shape[:2]
    x = torch.from_numpy(pixels.copy()).to(device).permute(2, 0, 1)[None].float() / 255
    x = F.pad(x, (0, -width % LATENT_STRIDE, 0, -height % LATENT_STRIDE), mode="replicate")
    networks = model.networks(device)
    with branch_precision(device):
        y = networks.analysis(x)
    z = networks.hyper_analysis(y)
    return y[0].cpu(), z[0].round().clamp(-Z_LIMIT, Z_LIMIT).to(torch.int32).cpu().numpy()


@torch.inference_mode()
def synthesise(
    model: CodecModel,
    decoded: DecodedLatent,
    width: int,
    height: int,
    device: torch.device,
    *,
    refine: bool = True,
) -> Pixels:
    """Pixels, uint8 [height, width, 3], of a latent, with CDR if the model has one and ``refine``."""
    y_hat = torch.from_numpy(decoded.latent).to(device).float()[None] / MEAN_SCALE
    networks = model.networks(device)
    with branch_precision(device):
        if refine and networks.cdr is not None:
            y_hat = y_hat + networks.cdr(decoded.node.reshape(decoded.level.shape), decoded.level)
        x = networks.synthesis(y_hat)[0, :, :height, :width]
    return (x * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
