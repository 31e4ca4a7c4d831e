"""Encoding: pixels to one embedded file."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Unpack

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..container import sections
from ..container.file import pack, truncate
from ..container.header import Header, check_pixels
from ..errors import InputError, TargetError
from ..image import transparency
from ..image.source import SourceImage, source_image
from ..transform.colour import rotate
from ..transform.lifting import analyse
from .guide import Original, PictureGuide, Target
from .model import CodecModel, model_of
from .options import DEFAULT_QUALITY, EncodeKeywords, EncodeOptions, mse_of_psnr, mse_of_quality, psnr_of_mse
from .picture import pixels
from .walk import Walk, Writer, run


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
    quality or an effort that there is not, or for a background that is no colour.
    """
    options = replace(options or EncodeOptions(), **changes)
    source = (
        image
        if isinstance(image, SourceImage)
        else source_image(image, background=options.background, metadata=options.metadata)
    )
    height, width = source.pixels.shape[:2]
    check_pixels(width, height, options.max_pixels)
    model = model_of(weights)
    kept = _sections(source)
    target = _target(options, width * height)

    low, details = analyse(rotate(source.pixels, source.grey))
    writer = Writer()
    original = Original(
        low,
        details,
        3 * height * width,
        lambda walk: _mean_squared_error(
            source, pixels(walk.state, model, (height, width), rows=walk.rows_now())
        ),
    )
    effort = options.effort if options.context else 0
    guide = PictureGuide(model, original, effort, target, lambda: writer.encoder.nbytes)
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
    return truncate(data, bpp=options.bpp, nbytes=options.nbytes)


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


def _mean_squared_error(source: SourceImage, decoded: npt.NDArray[np.uint8]) -> float:
    """Over all samples, of uint8 [height, width, 1 or 3] against the source."""
    total = 0
    for channel in range(decoded.shape[2]):
        difference = source.pixels[..., channel].astype(np.int16) - decoded[..., channel]
        total += int(np.square(difference, dtype=np.int32).sum(dtype=np.int64))
    return total / decoded.size


def _sections(source: SourceImage) -> list[tuple[int, bytes]]:
    """Kinds and bytes of all that is kept besides colours. Raises InputError for too long metadata."""
    kept = []
    if source.alpha is not None:
        kept.append((sections.ALPHA_ROUGH, transparency.pack_rough(source.alpha)))
        kept.append((sections.ALPHA, transparency.pack(source.alpha)))
    for kind, text in ((sections.EXIF, source.exif), (sections.XMP, source.xmp)):
        if len(text) > sections.MAX_METADATA:
            raise InputError(f"{sections.NAMES[kind]} of {len(text)} bytes is too long to be kept")
        if text:
            kept.append((kind, sections.pack_text(text)))
    return kept
