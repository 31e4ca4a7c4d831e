"""The codec as a sequence of its parts.

encode: pixels -> colour, wavelet -> [ low band | look (CRR) -> slice -> trits ] per plane -> range coder ->
file
decode: file -> range coder -> the same loop -> means (CDR) -> inverse wavelet -> synthesis -> projection ->
pixels
"""

from __future__ import annotations

import math
import os

import numpy as np
from PIL import Image

from ..container import sections as extras
from ..container.blocks import frame
from ..container.file import truncate
from ..container.header import MAX_PIXELS, Header, check_pixels
from ..errors import InputError, TargetError
from ..image import transparency as _alpha
from ..image.source import SourceImage, source_image
from ..transform.colour import rotate
from ..transform.lifting import analyse
from .guide import Original, PictureGuide, Target
from .model import CodecModel, model_of
from .options import DEFAULT_EFFORT, DEFAULT_QUALITY, EFFORTS, mse_of_psnr, mse_of_quality
from .picture import pixels
from .walk import Walk, Writer, run


def encode(
    image: Image.Image | SourceImage,
    *,
    quality: float | None = None,
    bpp: float | None = None,
    nbytes: int | None = None,
    psnr: float | None = None,
    effort: int = DEFAULT_EFFORT,
    background: str | tuple[int, ...] | None = None,
    metadata: bool = False,
    quality_table: bool = True,
    context: bool = True,
    weights: str | os.PathLike[str] | CodecModel | None = None,
    max_pixels: int | None = MAX_PIXELS,
) -> bytes:
    """Encode an image to a .ctc stream.

    image: a Pillow image of any mode, see :func:`ctc_codec._image.source_image`.
    quality, bpp, nbytes, psnr: at most one of them says where the stream ends; it can be cut anywhere later.
        quality: 1 to 100, a squared error whatever the content (see
        :func:`ctc_codec.quality.psnr_of_quality`: 85, the default, is 40 dB, 100 all planes); psnr: dB over
        the samples of the image without transparency;
        bpp: bits per pixel; nbytes: bytes of the file, both at most.
    effort: 1 to 9, see the README; more takes longer to encode and to decode, and makes smaller files.
    background: a colour to flatten transparency onto; None keeps it.
    metadata: keep EXIF and XMP.
    quality_table: note in the file what PSNR its lengths have, for ``truncate(psnr=...)``: 20 bytes.
    context: with CRR; without, trits are coded by tables alone.
    weights: a weights file, a loaded model, or None for the packaged weights.
    max_pixels: limit of width times height, None for no limit.

    Raises InputError, LimitError, TargetError, WeightsError; ValueError for two targets at once, for a
    quality or an effort that there is not, or for a background that is no colour.
    """
    if sum(target is not None for target in (quality, bpp, nbytes, psnr)) > 1:
        raise ValueError("give at most one of quality, bpp, nbytes and psnr")
    if effort not in EFFORTS:
        raise ValueError(f"effort is {EFFORTS[0]} to {EFFORTS[-1]}, not {effort}")
    source = (
        image
        if isinstance(image, SourceImage)
        else source_image(image, background=background, metadata=metadata)
    )
    height, width = source.pixels.shape[:2]
    check_pixels(width, height, max_pixels)
    model = model_of(weights)
    sections = _sections(source)
    target = _target(quality, bpp, nbytes, psnr, width * height)

    size, colours = (height, width), 1 if source.grey else 3
    low, details = analyse(rotate(source.pixels, source.grey))
    writer = Writer()
    original = Original(
        low,
        details,
        3 * height * width,
        lambda walk: _mean_squared_error(source, pixels(walk.state, model, size, rows=walk.rows_now())),
    )
    guide = PictureGuide(model, original, effort if context else 0, target, lambda: writer.encoder.nbytes)
    walk = Walk(model, size, colours, guide.planes, writer, guide)
    run(walk)
    if psnr is not None and (reached := guide.check(walk)) > mse_of_psnr(psnr):
        best = 10 * math.log10(255**2 / reached)
        raise TargetError(f"{psnr:g} dB is out of reach: all planes give {best:.2f} dB")
    code = writer.encoder.finish()

    if quality_table:
        guide.check(walk)
        sections.insert(0, (extras.QUALITY, guide.table(len(code)).to_bytes()))
    packed = extras.join_sections(sections)
    header = Header(
        width,
        height,
        model.fingerprint,
        len(code),
        source.grey,
        source.alpha is not None,
        len(packed),
        guide.planes,
        walk.slices,
    )
    data = header.to_bytes() + frame(extras.mix(code, packed, header.lead_bytes))
    return data if bpp is None and nbytes is None else truncate(data, bpp=bpp, nbytes=nbytes)


def _target(
    quality: float | None, bpp: float | None, nbytes: int | None, psnr: float | None, count: int
) -> Target:
    for name, value in (("bpp", bpp), ("psnr", psnr)):
        if value is not None and not 0 < value < 1e9:
            raise TargetError(f"{name} must be positive, not {value}")
    if bpp is not None:
        return Target(nbytes=int(bpp * count / 8) + 1)
    if nbytes is not None:
        return Target(nbytes=nbytes)
    if psnr is not None:
        return Target(mse_of_psnr(psnr))
    return Target(mse_of_quality(DEFAULT_QUALITY if quality is None else quality))


def _mean_squared_error(source: SourceImage, decoded: np.ndarray) -> float:
    """Over all samples, of uint8 [height, width, 1 or 3] against the source."""
    total = 0
    for channel in range(decoded.shape[2]):
        difference = source.pixels[..., channel].astype(np.int16) - decoded[..., channel]
        total += int(np.square(difference, dtype=np.int32).sum(dtype=np.int64))
    return total / decoded.size


def _sections(source: SourceImage) -> list[tuple[int, bytes]]:
    sections = []
    if source.alpha is not None:
        sections.append((extras.ALPHA_ROUGH, _alpha.pack_rough(source.alpha)))
        sections.append((extras.ALPHA, _alpha.pack(source.alpha)))
    for kind, what, text in ((extras.EXIF, "EXIF", source.exif), (extras.XMP, "XMP", source.xmp)):
        if len(text) > extras.MAX_METADATA:
            raise InputError(f"{what} of {len(text)} bytes is too long to be kept")
        if text:
            sections.append((kind, extras.pack_text(text)))
    return sections
