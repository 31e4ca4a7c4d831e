"""Options of encoding and decoding, and the meaning of quality and effort. Standard library only.

A file can be cut anywhere; a target only says where it ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypedDict, TypeVar

from ..container.blocks import BLOCK_BYTES
from ..container.header import MAX_PIXELS, Header
from ..errors import check_counts, check_flags, check_numbers

Colour = str | tuple[int, ...]
"""A colour as :func:`PIL.ImageColor.getrgb` takes it, or three integers from 0 to 255."""

DEFAULT_QUALITY = 85
EFFORTS = range(1, 10)
DEFAULT_EFFORT = 5
"""See :class:`ctc_codec.codec.guide.Effort`."""
THUMBNAIL_SCALE = 8
"""Of the sides of a picture to those of its thumbnail."""
_THUMBNAIL_BYTES = 512
"""Bytes that a thumbnail is made of, besides 1/8 bit per pixel."""
_POINTS = ((1.0, 23.0), (85.0, 40.0), (90.0, 42.0), (100.0, 50.0))
"""PSNR in dB at some qualities, linear in between; 100 has no target, but all planes."""


def _check_callable(**values: object) -> None:
    for name, value in values.items():
        if value is not None and not callable(value):
            raise TypeError(f"{name} must be a function, not {type(value).__name__}")


@dataclass(frozen=True)
class EncodeOptions:
    """Options of :func:`ctc_codec.encode`. At most one of the first four says where the file ends.

    quality: 1 to 100, a target of squared error whatever the content, see :func:`psnr_of_quality`; 85 (40 dB)
        without any target.
    bpp: bits per pixel, at most; of icons, for which that may be less than a header, the smallest picture.
    nbytes: bytes of the file, at most.
    psnr: dB over the samples of pixels that are seen (of alpha above 0), at least.
    effort: 1 to 9; more takes longer to encode and to decode, and makes smaller files.
    context: with CRR; without, trits are coded by tables alone.
    background: a colour to flatten transparency onto; None keeps it.
    metadata: keep EXIF, XMP and resolution.
    quality_table: note in the file what PSNR its lengths have, for ``truncate(psnr=...)``: 17 bytes.
    max_pixels: limit of width times height, None for no limit.
    warn: takes what a user should know, a line each: what was changed in the image on the way in, and how the
        file falls short of a target.

    Raises ValueError for two targets at once and for an effort that there is not, TypeError for what is no
    number.
    """

    quality: float | None = None
    bpp: float | None = None
    nbytes: int | None = None
    psnr: float | None = None
    effort: int = DEFAULT_EFFORT
    context: bool = True
    background: Colour | None = None
    metadata: bool = False
    quality_table: bool = True
    max_pixels: int | None = MAX_PIXELS
    warn: Callable[[str], Any] | None = None

    def __post_init__(self) -> None:
        check_flags(context=self.context, metadata=self.metadata, quality_table=self.quality_table)
        check_numbers(quality=self.quality, bpp=self.bpp, psnr=self.psnr)
        check_counts(nbytes=self.nbytes, effort=self.effort, max_pixels=self.max_pixels)
        _check_callable(warn=self.warn)
        if sum(target is not None for target in (self.quality, self.bpp, self.nbytes, self.psnr)) > 1:
            raise ValueError("give at most one of quality, bpp, nbytes and psnr")
        if self.effort not in EFFORTS:
            raise ValueError(f"effort is {EFFORTS[0]} to {EFFORTS[-1]}, not {self.effort}")


@dataclass(frozen=True)
class DecodeOptions:
    """Options of :func:`ctc_codec.decode`, :func:`ctc_codec.thumbnail` and :class:`ctc_codec.Decoder`.

    accept_damage: use what stands before damaged bytes.
    max_pixels: limit of width times height, None for no limit.
    warn: takes the message about damage that is accepted.
    refine: with CDR.
    synthesis: with the synthesis network, if the weights have one.
    """

    accept_damage: bool = False
    max_pixels: int | None = MAX_PIXELS
    warn: Callable[[str], Any] | None = None
    refine: bool = True
    synthesis: bool = True

    def __post_init__(self) -> None:
        check_counts(max_pixels=self.max_pixels)
        _check_callable(warn=self.warn)


class EncodeKeywords(TypedDict, total=False):
    """The fields of :class:`EncodeOptions` as keyword arguments."""

    quality: float | None
    bpp: float | None
    nbytes: int | None
    psnr: float | None
    effort: int
    context: bool
    background: Colour | None
    metadata: bool
    quality_table: bool
    max_pixels: int | None
    warn: Callable[[str], Any] | None


class DecodeKeywords(TypedDict, total=False):
    """The fields of :class:`DecodeOptions` as keyword arguments."""

    accept_damage: bool
    max_pixels: int | None
    warn: Callable[[str], Any] | None
    refine: bool
    synthesis: bool


def thumbnail_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of a picture's thumbnail: an eighth, rounded up."""
    return -(-width // THUMBNAIL_SCALE), -(-height // THUMBNAIL_SCALE)


def thumbnail_bytes(header: Header) -> int:
    """Size of the beginning of a file that a thumbnail is made of."""
    blocks = -(-(_THUMBNAIL_BYTES + header.width * header.height // 64) // BLOCK_BYTES)
    return min(len(header.to_bytes()) + blocks * BLOCK_BYTES, header.file_bytes)  # with a block's check sum


_Options = TypeVar("_Options", EncodeOptions, DecodeOptions)


def with_changes(
    function: str, kind: type[_Options], options: _Options | None, changes: Mapping[str, Any]
) -> _Options:
    """Options, by default those of their kind, with some fields changed. Raises TypeError for other options,
    and for a field that there is not, by the name of the function."""
    options = kind() if options is None else options
    if not isinstance(options, kind):
        raise TypeError(f"options must be {kind.__name__}, not {type(options).__name__}")
    known = {field.name for field in fields(kind)}
    for name in changes:
        if name not in known:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")
    return replace(options, **changes)


def psnr_of_quality(quality: float) -> float:
    """PSNR in dB that a quality from 1 to 100 stands for; 100 is all planes, about 50 dB.

    Raises ValueError for another quality.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is 1 to 100, not {quality:g}")
    upper = next(i for i, (end, _) in enumerate(_POINTS) if quality <= end)
    (q0, db0), (q1, db1) = _POINTS[max(upper - 1, 0)], _POINTS[max(upper, 1)]
    return db0 + (db1 - db0) * (quality - q0) / (q1 - q0)


def mse_of_psnr(psnr: float) -> float:
    """Mean squared error of samples from 0 to 255 that has a PSNR in dB."""
    return float(255**2 / 10 ** min(psnr / 10, 300))


def psnr_of_mse(mse: float) -> float:
    """PSNR in dB of a mean squared error, above 0, of samples from 0 to 255."""
    return 10 * math.log10(255**2 / mse)


def mse_of_quality(quality: float) -> float | None:
    """Mean squared error at which a file of this quality ends; None for all planes. Raises ValueError."""
    psnr = psnr_of_quality(quality)
    return None if quality == 100 else mse_of_psnr(psnr)
