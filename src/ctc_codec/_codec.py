"""The codec as a sequence of its parts: pixels, transform, entropy model, trit planes, bitstream."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import truediv
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ._config import LATENT_STRIDE
from ._container import MAX_PIXELS, Coding, Header, frame, truncate, unframe
from ._device import branch_precision, resolve_device
from ._entropy import RangeDecoder, RangeEncoder, Rows, rows_of
from ._errors import DamageError, TargetError, WeightsError
from ._hyperprior import Z_LIMIT, hyper_size
from ._image import (
    Pixels,
    SourceImage,
    check_pixels,
    image_from_pixels,
    source_image,
)
from ._image import (
    psnr as measure_psnr,
)
from ._model import CodecModel, load_model
from ._planes import CONTEXT_PLANES, MEAN_SCALE, Planes, clip_residual

IntArray = npt.NDArray[np.int32]

_Z_CHUNK = 128
"""Hyper-latent positions whose probability rows are built at a time."""


# --- transforms -------------------------------------------------------------------------------------


def _latent_sides(width: int, height: int) -> tuple[int, int]:
    return -(-height // LATENT_STRIDE), -(-width // LATENT_STRIDE)


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


# --- entropy coding ---------------------------------------------------------------------------------


class _Trits:
    """The planes of an image and the probabilities of their trits, for encoder and decoder alike.

    level: int32 [N, h, w]. Raises WeightsError if the coding needs a context model that is not there.
    """

    def __init__(self, model: CodecModel, level: IntArray, coding: Coding) -> None:
        if coding.slices and model.crr is None:
            raise WeightsError("made with a context model, which these weights do not have")
        weight = np.repeat(model.channel_priority, level[0].size)
        slices = max(coding.slices, 1)
        self.planes = Planes(level.reshape(-1), weight, model.tables, coding.order, slices)
        self._model = model
        self._shape = level.shape
        self._crr = model.crr if coding.slices else None
        self._static = self._crr.begin(level) if self._crr is not None else None

    def __iter__(self) -> Iterator[tuple[int, npt.NDArray[np.intp], Rows]]:
        """Yield (plane, elements of a slice, coder's rows of their trits); advance the planes in between."""
        for plane, elements in self.planes:
            node = self.planes.node
            if self._crr is None or self._static is None or plane >= CONTEXT_PLANES:
                yield plane, elements, self._model.trit_rows[node[elements]]
                continue
            shift, log_scale = self._crr.parameters(node.reshape(self._shape), self._static)
            frequencies = self._crr.frequencies(node[elements], shift[elements], log_scale[elements])
            yield plane, elements, rows_of(frequencies)


def _encode_stream(model: CodecModel, y: Tensor, z: IntArray, coding: Coding) -> bytes:
    level, mu = entropy_parameters(model, z, y.shape[1], y.shape[2])
    return encode_planes(model, y, z, level, mu, coding)


def encode_planes(
    model: CodecModel, y: Tensor, z: IntArray, level: IntArray, mu: IntArray, coding: Coding
) -> bytes:
    """z position by position, then the trits of y plane by plane, as one code word.

    y: float32 [N, h, w]; z: int32 [Cz, hz, wz]; level, mu: int32 [N, h, w], see
    :class:`ctc_codec._exact.ExactHyperSynthesis`.
    """
    encoder = RangeEncoder()
    positions = z.reshape(z.shape[0], -1).T  # [hz * wz, Cz]
    for start in range(0, len(positions), _Z_CHUNK):
        chunk = positions[start : start + _Z_CHUNK]
        symbols = np.ascontiguousarray(chunk).reshape(-1) + Z_LIMIT
        encoder.encode(symbols, np.tile(model.z_rows, (len(chunk), 1)))

    residual = y.numpy() - mu.astype(np.float32) / MEAN_SCALE
    s = np.rint(np.clip(residual, -1e6, 1e6)).astype(np.int32).reshape(-1)
    s = clip_residual(s, level.reshape(-1), model.tables)
    trits_of = _Trits(model, level, coding)
    for plane, elements, rows in trits_of:
        trits = trits_of.planes.digits(s, plane, elements)
        encoder.encode(trits, rows)
        trits_of.planes.advance(elements, trits)
    return encoder.finish()


def entropy_parameters(model: CodecModel, z: IntArray, h: int, w: int) -> tuple[IntArray, IntArray]:
    """Sigma levels and mu (1/64 steps), int32 [N, h, w] each."""
    level, mu = model.hyper_synthesis(z)
    return np.ascontiguousarray(level[:, :h, :w]), np.ascontiguousarray(mu[:, :h, :w])


@dataclass(frozen=True)
class DecodedLatent:
    """All that the bytes at hand tell about the latent.

    latent: int32 [N, h, w] in 1/64 steps: mu plus the conditional mean of each residual.
    node: int32 [N * h * w], state of every element; level: int32 [N, h, w], of its sigma.
    planes: trit planes in the stream; planes_held: how many of them are complete, and the decoded
        share of the next one.
    z_complete: the hyper-latent is complete; without it mu and sigma are those of the most likely z.
    trits: trits decoded.
    """

    latent: IntArray
    node: IntArray
    level: IntArray
    planes: int
    planes_held: float
    z_complete: bool
    trits: int

    def sha256(self) -> str:
        """Hash of the latent: the same on every machine for the same bytes and weights."""
        return hashlib.sha256(self.latent.astype("<i4").tobytes()).hexdigest()


def _decode_z(model: CodecModel, decoder: RangeDecoder, hz: int, wz: int) -> IntArray:
    """Hyper-latent, int32 [Cz, hz, wz]; where the data ends inside it, its mode everywhere.

    (With z known for a part of the image only, mu is wrong around the border of that part: seen to cost
    0.2 to 0.5 dB against not using z at all.)
    """
    chunks = []
    for start in range(0, hz * wz, _Z_CHUNK):
        rows = np.tile(model.z_rows, (min(_Z_CHUNK, hz * wz - start), 1))
        chunks.append(decoder.decode(rows) - Z_LIMIT)
        if decoder.exhausted:
            return np.repeat(model.z_mode, hz * wz).reshape(-1, hz, wz)
    positions = np.concatenate(chunks).reshape(hz * wz, -1)
    return np.ascontiguousarray(positions.T).reshape(-1, hz, wz)


def decode_stream(
    model: CodecModel, width: int, height: int, data: bytes, complete: bool, coding: Coding
) -> DecodedLatent:
    """Read a code word, or a prefix of one (``complete`` False), of an image of that many pixels.

    Raises DamageError for a complete word that no encoder writes, WeightsError if the coding needs a context
    model that is not there.
    """
    h, w = _latent_sides(width, height)
    decoder = RangeDecoder(data, complete)
    z = _decode_z(model, decoder, hyper_size(h), hyper_size(w))
    z_complete = not decoder.exhausted
    level, mu = entropy_parameters(model, z, h, w)
    trits_of = _Trits(model, level, coding)
    planes = trits_of.planes
    trits = [0] * planes.count
    if z_complete:
        for plane, elements, rows in trits_of:
            decoded = decoder.decode(rows)
            planes.advance(elements[: len(decoded)], decoded)
            trits[plane] += len(decoded)
            if decoder.exhausted:
                break
    held = sum(map(truediv, trits, planes.active))
    latent = mu + planes.residual().reshape(mu.shape)
    return DecodedLatent(latent, planes.node, level, planes.count, held, z_complete, sum(trits))


# --- public API -------------------------------------------------------------------------------------


def _model(weights: str | os.PathLike[str] | CodecModel | None) -> CodecModel:
    return weights if isinstance(weights, CodecModel) else load_model(weights)


def _check_fingerprint(model: CodecModel, header: Header) -> None:
    if header.fingerprint != model.fingerprint:
        raise WeightsError(
            f"made with other weights (file {header.fingerprint.hex()}, here {model.fingerprint.hex()})"
        )


def encode(
    image: Image.Image | SourceImage,
    *,
    bpp: float | None = None,
    nbytes: int | None = None,
    psnr: float | None = None,
    weights: str | os.PathLike[str] | CodecModel | None = None,
    device: str = "auto",
    max_pixels: int | None = MAX_PIXELS,
    coding: Coding | None = None,
) -> bytes:
    """Encode an image to a .ctc stream.

    image: a Pillow image of any mode (transparency is flattened onto white, see
        :func:`ctc_codec._image.source_image`).
    bpp, nbytes, psnr: at most one of them. The stream is cut to at most that many bits per pixel or
        file bytes, or to about the fewest bytes whose decoding reaches that PSNR (dB, RGB). Without
        any, the whole stream.
    weights: a weights file, a loaded model, or None for the packaged weights.
    device: ``auto``, ``cpu`` or ``cuda``, for the transforms only.
    max_pixels: limit of width times height, None for no limit.
    coding: how trits are coded, for comparisons; None: as is best with these weights.

    Raises InputError, LimitError, TargetError, WeightsError; ValueError for two targets at once.
    """
    if sum(target is not None for target in (bpp, nbytes, psnr)) > 1:
        raise ValueError("give at most one of bpp, nbytes and psnr")
    source = image if isinstance(image, SourceImage) else source_image(image)
    height, width = source.pixels.shape[:2]
    check_pixels(width, height, max_pixels)
    model, where = _model(weights), resolve_device(device)
    y, z = analyse(model, source.pixels, where)
    coding = model.coding if coding is None else coding
    payload = _encode_stream(model, y, z, coding)
    header = Header(width, height, model.fingerprint, len(payload), source.grey, coding)
    data = header.to_bytes() + frame(payload)
    if bpp is not None or nbytes is not None:
        return truncate(data, bpp=bpp, nbytes=nbytes)
    if psnr is not None:
        return data[: _bytes_for_psnr(model, data, source, psnr, where)]
    return data


def _bytes_for_psnr(
    model: CodecModel, data: bytes, source: SourceImage, target: float, device: torch.device
) -> int:
    """Length of a prefix that reaches ``target`` dB, at most 0.2 % above the shortest by bisection."""

    def quality(count: int) -> float:
        image = decode(data[:count], weights=model, device=str(device), max_pixels=None)
        return measure_psnr(source.pixels, np.asarray(image.convert("RGB")))

    whole = quality(len(data))
    if whole < target:
        raise TargetError(f"{target:g} dB is out of reach: the whole stream gives {whole:.2f} dB")
    low, high = Header.parse(data)[1], len(data)
    if quality(low) >= target:
        return low
    while high - low > max(8, high // 500):
        middle = (low + high) // 2
        low, high = (low, middle) if quality(middle) >= target else (middle, high)
    return high


def decode_latent(
    data: bytes,
    *,
    weights: str | os.PathLike[str] | CodecModel | None = None,
    accept_damage: bool = False,
    max_pixels: int | None = MAX_PIXELS,
    warn: Callable[[str], Any] | None = None,
) -> tuple[Header, DecodedLatent]:
    """Entropy-decode a .ctc stream, or any prefix of one, without running the synthesis.

    Raises FormatError, DamageError (unless ``accept_damage``: then only what stands before the damage
    is used and ``warn`` gets the message), WeightsError, LimitError.
    """
    header, start = Header.parse(data)
    check_pixels(header.width, header.height, max_pixels)
    model = _model(weights)
    _check_fingerprint(model, header)
    payload = unframe(data, header, start)
    if payload.damage is not None:
        if not accept_damage:
            raise DamageError(payload.damage)
        if warn is not None:
            warn(payload.damage)
    return header, decode_stream(
        model, header.width, header.height, payload.data, payload.complete, header.coding
    )


def decode(
    data: bytes,
    *,
    bpp: float | None = None,
    nbytes: int | None = None,
    weights: str | os.PathLike[str] | CodecModel | None = None,
    device: str = "auto",
    accept_damage: bool = False,
    max_pixels: int | None = MAX_PIXELS,
    warn: Callable[[str], Any] | None = None,
    refine: bool = True,
) -> Image.Image:
    """Decode a .ctc stream, or any prefix of one, to a Pillow image (mode RGB, or L for grey).

    bpp, nbytes: decode only the prefix that :func:`truncate` would keep.
    refine: with CDR, if the weights have it.
    Other arguments and errors as for :func:`encode` and :func:`decode_latent`.
    """
    if bpp is not None or nbytes is not None:
        data = truncate(data, bpp=bpp, nbytes=nbytes)
    model, where = _model(weights), resolve_device(device)
    header, decoded = decode_latent(
        data, weights=model, accept_damage=accept_damage, max_pixels=max_pixels, warn=warn
    )
    pixels = synthesise(model, decoded, header.width, header.height, where, refine=refine)
    return image_from_pixels(pixels, header.grey)
