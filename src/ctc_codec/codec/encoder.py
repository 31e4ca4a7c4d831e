"""Encoding: pixels to one embedded file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Unpack

from PIL import Image

from ..container import sections
from ..container.file import bpp_bytes, info, pack, truncate
from ..container.header import Header, check_pixels
from ..errors import TargetError
from ..image import transparency
from ..image.metadata import too_long
from ..image.source import SourceImage, mean_squared_error, source_image
from .guide import Original, PictureGuide, Target
from .model import CodecModel, model_of
from .options import (
    DEFAULT_QUALITY,
    EncodeKeywords,
    EncodeOptions,
    mse_of_psnr,
    mse_of_quality,
    psnr_of_mse,
    with_changes,
)
from .picture import analysed, pixels
from .walk import Walk, Writer, picture_bytes, run


def encode(
    image: Image.Image | SourceImage,
    options: EncodeOptions | None = None,
    *,
    weights: str | os.PathLike[str] | CodecModel | None = None,
    **changes: Unpack[EncodeKeywords],
) -> bytes:
    """Encode an image to a .ctc file: ``encode(image, quality=90, effort=7)``.

    image: a Pillow image of any mode, see :func:`ctc_codec.image.source.source_image`.
    options: see :class:`EncodeOptions`; None for the defaults.
    weights: a weights file, a loaded model, or None for the packaged weights.
    changes: fields of the options by name.

    Raises InputError, LimitError, TargetError, WeightsError; ValueError for two targets at once, for a
    quality or an effort that there is not, or for a background that is no colour; TypeError.
    """
    options = with_changes("encode", EncodeOptions, options, changes)
    warn = options.warn or _ignore
    source = image if isinstance(image, SourceImage) else _source(image, options, warn)
    height, width = source.pixels.shape[:2]
    check_pixels(width, height, options.max_pixels)
    model = model_of(weights)
    kept = _sections(source, warn)
    target = _target(options, width * height)

    writer = Writer()
    effort = options.effort if options.context else 0
    guide = PictureGuide(model, _original(source, model), effort, target, lambda: writer.encoder.nbytes)
    header = Header(
        width,
        height,
        model.fingerprint,
        grey=source.grey,
        alpha=source.alpha is not None,
        planes=guide.planes,
    )
    walk = Walk(model, header, writer, guide)
    run(walk)
    walk.end()
    if options.psnr is not None and (reached := guide.check(walk)) > mse_of_psnr(options.psnr):
        raise TargetError(
            f"{options.psnr:g} dB is out of reach: all planes give {psnr_of_mse(reached):.2f} dB"
        )
    code = writer.encoder.finish()

    if options.quality_table:
        guide.check(walk)
        kept.insert(0, (sections.QUALITY, guide.table(len(code)).to_bytes()))
    data = pack(replace(header, slices=walk.slices), code, kept)
    if options.bpp is None and options.nbytes is None:
        return data
    return _cut(data, options, warn, lambda: psnr_of_mse(max(guide.check(walk), 1e-9)))


def _original(source: SourceImage, model: CodecModel) -> Original:
    """What a guide knows of a picture."""
    height, width = size = source.pixels.shape[:2]
    low, details = analysed(source.pixels, source.grey, model)
    return Original(
        low,
        details,
        size,
        3 * height * width,
        source.seen / (height * width),
        lambda walk: mean_squared_error(source, pixels(walk.state, model, size, rows=walk.rows_now())),
    )


def _cut(data: bytes, options: EncodeOptions, warn: Callable[[str], Any], psnr: Callable[[], float]) -> bytes:
    """A whole file cut to the size that is asked for. Raises TargetError. psnr: dB, of the whole file."""
    header = Header.parse(data)[0]
    count = header.width * header.height
    asked = bpp_bytes(header, options.bpp or 0) if options.nbytes is None else options.nbytes
    if asked > len(data):
        warn(
            f"the whole file has {len(data)} bytes, {8 * len(data) / count:.4f} bpp, {psnr():.1f} dB: no more"
        )
        return data
    least = picture_bytes(data) if asked < header.first_bytes else None
    if least is None or asked >= least:
        cut = truncate(data, nbytes=asked)
        if lost := sorted({"EXIF", "XMP"}.intersection(info(data).sections).difference(info(cut).sections)):
            warn(f"{' and '.join(lost)} would come behind the {asked} bytes of the file: not kept")
        return cut
    if options.nbytes is not None:
        data = truncate(data, nbytes=asked)
        warn(f"{asked} bytes hold no picture yet: {least} do")
        return data
    warn(f"{options.bpp:g} bpp are {asked} bytes, which hold no picture: {least} bytes are written, which do")
    return data[:least]


def _source(image: object, options: EncodeOptions, warn: Callable[[str], Any]) -> SourceImage:
    """A Pillow image as it is coded. Raises TypeError for what is none, and all that source_image does."""
    if not isinstance(image, Image.Image):
        how = (
            "PIL.Image.fromarray makes one" if hasattr(image, "__array_interface__") else "see PIL.Image.open"
        )
        raise TypeError(f"image must be a PIL.Image.Image, not {type(image).__name__} ({how})")
    source = source_image(image, background=options.background, metadata=options.metadata)
    for note in source.notes:
        warn(note)
    return source


def _ignore(message: str) -> None:
    pass


def _target(options: EncodeOptions, count: int) -> Target:
    """The end of a file of ``count`` pixels. Raises TargetError, ValueError."""
    for name, value in (("bpp", options.bpp), ("psnr", options.psnr)):
        if value is not None and not 0 < value < 1e9:
            raise TargetError(f"{name} must be positive, not {value}")
    if options.bpp is not None:
        return Target(nbytes=int(options.bpp * count / 8) + 1)
    if options.nbytes is not None:
        return Target(nbytes=options.nbytes)
    if options.psnr is not None:
        return Target(mse_of_psnr(options.psnr))
    return Target(mse_of_quality(DEFAULT_QUALITY if options.quality is None else options.quality))


def _sections(source: SourceImage, warn: Callable[[str], Any]) -> list[tuple[int, bytes]]:
    """Kinds and bytes of all that is kept besides colours. Warns of metadata that are too long."""
    kept = []
    if source.alpha is not None:
        kept.append((sections.ALPHA_ROUGH, transparency.pack_rough(source.alpha)))
        kept.append((sections.ALPHA, transparency.pack(source.alpha)))
    for kind, text in ((sections.EXIF, source.exif), (sections.XMP, source.xmp)):
        if note := too_long(f"{sections.NAMES[kind]} data", text):
            warn(note)
        elif text:
            kept.append((kind, sections.pack_text(text)))
    return kept
