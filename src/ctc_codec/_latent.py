"""Pixels to a latent and back: the float networks around the entropy-coded part, in tiles."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from ._config import HYPER_STRIDE, LATENT_STRIDE, ModelConfig
from ._context import REFINER_HALO, Refiner
from ._device import branch_precision
from ._hyperprior import Z_LIMIT, HyperAnalysis, hyper_size
from ._image import Pixels
from ._memory import give_back
from ._model import CodecModel
from ._planes import MEAN_SCALE, IntArray
from ._stream import DecodedLatent, latent_sides
from ._tiles import tiles
from ._wavelet import compose, decompose

_HYPER_HALO = 1
"""Positions of z to each side, which look at all of the latent that one of them depends on."""

_REMEMBERED = 12
"""Tiles of an image in which most are the same: there are nine places relative to its border."""

Floats = npt.NDArray[np.float32]


def transform_halo(config: ModelConfig) -> int:
    """Positions of the latent to each side that the analysis and synthesis transforms look at: one for every
    depthwise 3x3 convolution, at 1/8 half of one."""
    return config.blocks_16 + -(-config.blocks_8 // 2)


@torch.inference_mode()
def analyse(model: CodecModel, pixels: Pixels, device: torch.device) -> tuple[Tensor, IntArray]:
    """Latent y, float32 [N, h, w], and hyper-latent z, int32 [Cz, hz, wz], of an image."""
    h, w = latent_sides(pixels.shape[1], pixels.shape[0])
    config, networks = model.config, model.networks(device)
    y = torch.empty(config.latent_channels, h, w, dtype=torch.float32)
    for tile in tiles(h, w, transform_halo(config)):
        at = tile.scaled(LATENT_STRIDE)
        x = torch.from_numpy(pixels[at.outer].copy()).to(device).permute(2, 0, 1)[None].float() / 255
        x = F.pad(x, (0, -x.shape[3] % LATENT_STRIDE, 0, -x.shape[2] % LATENT_STRIDE), mode="replicate")
        with branch_precision(device):
            blocks = networks.analysis.to_blocks(x)
        y[:, *tile.core] = blocks[0, :, *tile.inner].cpu()
    give_back(h * w)
    count = config.wavelet_channels
    y[:count] = decompose(y[:count], config.wavelet_levels)
    return y, _hyper_latent(networks.hyper_analysis, y, config.hyper_channels, device)


def _hyper_latent(network: HyperAnalysis, y: Tensor, channels: int, device: torch.device) -> IntArray:
    hz, wz = map(hyper_size, y.shape[1:])
    z = np.empty((channels, hz, wz), np.int32)
    for tile in tiles(hz, wz, _HYPER_HALO, HYPER_STRIDE):
        values = network(y[None, :, *tile.scaled(HYPER_STRIDE).outer].to(device))
        whole = values[0, :, *tile.inner].round().clamp(-Z_LIMIT, Z_LIMIT)
        z[:, *tile.core] = whole.to(torch.int32).cpu().numpy()
    return z


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
    """Pixels, uint8 [height, width, 3], of a latent, with CDR if the model has one and ``refine``.

    Without the whole hyper-latent there is nothing to refine, and most tiles of a large image are the same:
    they are computed once.
    """
    _, h, w = decoded.state.shape
    config, networks = model.config, model.networks(device)
    count = config.wavelet_channels
    latent = _Values(decoded)
    if refine and networks.cdr is not None and decoded.z_complete:
        latent = _Refined(decoded, networks.cdr, device)
    first = latent.window(decoded.everywhere, slice(0, count))
    means = compose(torch.from_numpy(first), config.wavelet_levels)

    def pixels_of(blocks: Tensor) -> Pixels:
        with branch_precision(device):
            x = networks.synthesis.from_blocks(blocks[None].to(device))[0]
        return (x * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()

    known: OrderedDict[bytes, Pixels] = OrderedDict()
    out = np.empty((height, width, 3), np.uint8)
    for tile in tiles(h, w, transform_halo(config)):
        near, place = means[:, *tile.outer], decoded.state.place(tile.outer)
        key = None if place is None else place + near.numpy().tobytes()
        found = None if key is None else known.get(key)
        if found is None:
            others = torch.from_numpy(latent.window(tile.outer, slice(count, None)))
            found = pixels_of(torch.cat((near, others)))
        if key is not None:
            known[key] = found
            known.move_to_end(key)
            if len(known) > _REMEMBERED:
                known.popitem(last=False)
        at = tile.scaled(LATENT_STRIDE)
        target = out[at.core]  # less at the right and lower edge
        target[:] = found[at.inner][: target.shape[0], : target.shape[1]]
    return out


class _Values:
    """The latent in quantiser steps, float32."""

    def __init__(self, decoded: DecodedLatent) -> None:
        self._decoded = decoded

    def window(self, window: tuple[slice, slice], channels: slice) -> Floats:
        """[channels, rows, columns]"""
        return self._decoded.values(window, channels).astype(np.float32) * np.float32(1 / MEAN_SCALE)


class _Refined(_Values):
    """The same with what CDR adds, computed at once: the wavelet needs its channels of all the image."""

    def __init__(self, decoded: DecodedLatent, cdr: Refiner, device: torch.device) -> None:
        super().__init__(decoded)
        self._all = np.empty(decoded.state.shape, np.float32)
        for tile in tiles(*decoded.state.shape[1:], REFINER_HALO):
            node, level, _ = decoded.state.window(tile.outer)
            with branch_precision(device):
                change = cdr(node, level)[0, :, *tile.inner].cpu().numpy()
            self._all[:, *tile.core] = super().window(tile.core, slice(None)) + change
        give_back(self._all[0].size)

    def window(self, window: tuple[slice, slice], channels: slice) -> Floats:
        return self._all[channels, *window]
