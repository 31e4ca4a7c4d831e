"""The codec as a sequence of its parts: pixels, transform, entropy model, trit planes, bitstream."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image

from . import _alpha, _extras
from ._container import truncate
from ._decoder import Decoder
from ._device import resolve_device
from ._errors import InputError, TargetError
from ._framing import BLOCK_BYTES, frame
from ._header import MAX_PIXELS, Coding, Header, check_pixels
from ._image import SourceImage, psnr_against, source_image
from ._latent import analyse
from ._memory import give_back
from ._model import CodecModel, model_of
from ._rate_quality import QualityWatch
from ._stream import DecodedLatent, encode_planes, entropy_parameters, residuals
from ._target import smallest_prefix


def encode(
    image: Image.Image | SourceImage,
    *,
    bpp: float | None = None,
    nbytes: int | None = None,
    psnr: float | None = None,
    background: str | tuple[int, ...] | None = None,
    metadata: bool = False,
    quality_table: bool = True,
    weights: str | os.PathLike[str] | CodecModel | None = None,
    device: str = "auto",
    max_pixels: int | None = MAX_PIXELS,
    coding: Coding | None = None,
) -> bytes:
    """Encode an image to a .ctc stream.

    image: a Pillow image of any mode, see :func:`ctc_codec._image.source_image`.
    bpp, nbytes, psnr: at most one of them. The stream is cut to at most that many bits per pixel or
        file bytes, or to the fewest bytes whose decoding reaches that PSNR (dB, over the samples of the image
        without transparency). Without any, the whole stream.
    background: a colour to flatten transparency onto; None keeps it.
    metadata: keep EXIF and XMP.
    quality_table: note in the file what PSNR its lengths have, for ``truncate(psnr=...)``: 20 bytes.
    weights: a weights file, a loaded model, or None for the packaged weights.
    device: ``auto``, ``cpu`` or ``cuda``, for the transforms only.
    max_pixels: limit of width times height, None for no limit.
    coding: how trits are coded, for comparisons; None: as is best with these weights.

    Raises InputError, LimitError, TargetError, WeightsError; ValueError for two targets at once, or for a
    background that is no colour.
    """
    if sum(target is not None for target in (bpp, nbytes, psnr)) > 1:
        raise ValueError("give at most one of bpp, nbytes and psnr")
    if isinstance(image, SourceImage):
        source = image
    else:
        source = source_image(image, background=background, metadata=metadata)
    height, width = source.pixels.shape[:2]
    check_pixels(width, height, max_pixels)
    model, where = model_of(weights), resolve_device(device)
    coding = model.coding if coding is None else coding

    y, z = analyse(model, source.pixels, where)
    level, mu = entropy_parameters(model, z, y.shape[1], y.shape[2])
    watch = QualityWatch(model, source.pixels, y, mu, source.grey, where) if quality_table else None
    s = residuals(model, y, mu, level)
    del y, mu  # of large images they are large
    give_back(level[0].size)
    code = encode_planes(model, z, s, level, coding, watch)
    sections = [] if watch is None else [(_extras.QUALITY, watch.table(len(code)).to_bytes())]
    extras = _extras.join_sections(sections + _sections(source))
    header = Header(
        width,
        height,
        model.fingerprint,
        len(code),
        source.grey,
        coding,
        source.alpha is not None,
        len(extras),
    )
    data = header.to_bytes() + frame(_extras.mix(code, extras, header.lead_bytes))

    if bpp is not None or nbytes is not None:
        return truncate(data, bpp=bpp, nbytes=nbytes)
    if psnr is not None:
        return data[: _bytes_for_psnr(model, data, source, psnr, where)]
    return data


def _sections(source: SourceImage) -> list[tuple[int, bytes]]:
    sections = []
    if source.alpha is not None:
        sections.append((_extras.ALPHA_ROUGH, _alpha.pack_rough(source.alpha)))
        sections.append((_extras.ALPHA, _alpha.pack(source.alpha)))
    for kind, what, text in ((_extras.EXIF, "EXIF", source.exif), (_extras.XMP, "XMP", source.xmp)):
        if len(text) > _extras.MAX_METADATA:
            raise InputError(f"{what} of {len(text)} bytes is too long to be kept")
        if text:
            sections.append((kind, _extras.pack_text(text)))
    return sections


def _bytes_for_psnr(
    model: CodecModel, data: bytes, source: SourceImage, target: float, device: torch.device
) -> int:
    """Length of the shortest prefix that reaches ``target`` dB."""

    def quality(count: int) -> float:
        image = decode(data[:count], weights=model, device=str(device), max_pixels=None)
        return psnr_against(source, image)

    whole = quality(len(data))
    if whole < target:
        raise TargetError(f"{target:g} dB is out of reach: the whole stream gives {whole:.2f} dB")
    return smallest_prefix(quality, Header.parse(data)[1], len(data), target, whole)


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
    decoder = Decoder(weights=weights, accept_damage=accept_damage, max_pixels=max_pixels, warn=warn)
    decoder.feed(data)
    decoder.finish()
    return decoder.checked_header(), decoder.latent()


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
    """Decode a .ctc stream, or any prefix of one, to a Pillow image of mode RGB, L, RGBA or LA.

    Kept metadata is in ``info["exif"]`` and ``info["xmp"]``, bytes.
    bpp, nbytes: decode only the prefix that :func:`truncate` would keep.
    refine: with CDR, if the weights have it.
    Other arguments and errors as for :func:`encode` and :func:`decode_latent`.
    """
    if bpp is not None or nbytes is not None:
        data = truncate(data, bpp=bpp, nbytes=nbytes)
    decoder = Decoder(
        weights=weights,
        device=device,
        accept_damage=accept_damage,
        max_pixels=max_pixels,
        warn=warn,
        refine=refine,
    )
    decoder.feed(data)
    decoder.finish()
    return decoder.image()


def thumbnail(
    data: bytes,
    *,
    weights: str | os.PathLike[str] | CodecModel | None = None,
    accept_damage: bool = False,
    max_pixels: int | None = MAX_PIXELS,
    warn: Callable[[str], Any] | None = None,
) -> Image.Image:
    """A picture of 1/8 of each side (rounded up), fast, from the first bytes of a .ctc stream.

    No more than 1/8 bit per pixel is read: what more bytes tell cannot be seen at this size. Arguments
    and errors as for :func:`decode`.
    """
    header, start = Header.parse(data)
    blocks = -(-(_THUMBNAIL_BYTES + header.width * header.height // 64) // BLOCK_BYTES)
    enough = start + blocks * BLOCK_BYTES  # with the last one's check sum
    decoder = Decoder(weights=weights, accept_damage=accept_damage, max_pixels=max_pixels, warn=warn)
    decoder.feed(data[:enough])
    decoder.finish()
    return decoder.thumbnail()


_THUMBNAIL_BYTES = 512
