"""EXIF and XMP: which way is up, and what to keep. None of it can fail an image."""

from __future__ import annotations

import re
import struct
from typing import Any

from PIL import ExifTags, Image

EXIF_PREFIX = b"Exif\0\0"
"""Stands before a TIFF structure in JPEG; Pillow takes it everywhere when it writes."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF's Orientation, as in ``PIL.ImageOps.exif_transpose``, which fails where other tags are broken."""

_IFDS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_TIFF_TAGS = frozenset(
    # Words, makers, dates and resolution, which may go from one TIFF into another; nothing about its pixels.
    [269, 270, 271, 272, 282, 283, 285, 296, 305, 306, 315, 316, 33432, *range(0x9C9B, 0x9CA0), *_IFDS]
)


def read_turn(image: Image.Image) -> Image.Transpose | None:
    """Turn that EXIF's Orientation of a loaded image asks for, or XMP's; None: it is upright as it is."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata says nothing about the pixels
        return None


def read_exif(image: Image.Image, notes: list[str]) -> bytes:
    """EXIF of a loaded image, as in :class:`ctc_codec.image.source.SourceImage`; empty if there is none.

    Byte by byte but for the Orientation; a TIFF's tags are written anew, less those about its own pixels.

    notes: gets a line about EXIF that cannot be read.
    """
    try:
        exif = image.info.get("exif")
        if exif is None and "Raw profile type exif" in image.info:  # ImageMagick's in PNG: hexadecimal text
            exif = bytes.fromhex("".join(image.info["Raw profile type exif"].split("\n")[3:]))
        elif exif is None and image.format == "TIFF":
            exif = tiff_exif(image.getexif())
        exif = re.sub(b"^(Exif\0\0)+", b"", bytes(exif or b""))
        return _with_orientation_reset(exif) if exif else b""
    except Exception:  # Pillow's parser lets all kinds through
        notes.append("EXIF data are broken: dropped")
        return b""


def tiff_exif(exif: Image.Exif, xmp: bytes = b"") -> bytes:
    """TIFF structure, with prefix, of XMP and the tags that may go into another file; empty without any."""
    kept = Image.Exif()
    for tag in _TIFF_TAGS.intersection(exif):
        kept[tag] = exif.get_ifd(tag) if tag in _IFDS else exif[tag]
    if xmp:
        kept[ExifTags.Base.XMLPacket] = xmp
    return kept.tobytes() if len(kept) else b""


def _with_orientation_reset(exif: bytes) -> bytes:
    """The same TIFF structure with Orientation 1 if it has one.

    All else stays where it is: makers' notes hold offsets. Raises ValueError or struct.error if it is none.
    """
    data = bytearray(exif)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        raise ValueError("no TIFF structure")
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from(f"{order}H", data, entry)[0] == ExifTags.Base.Orientation:
            struct.pack_into(f"{order}HHIHH", data, entry, ExifTags.Base.Orientation, 3, 1, 1, 0)
    return bytes(data)


def read_xmp(image: Image.Image) -> bytes:
    """XMP of a loaded image, tiff:Orientation 1; empty if there is none."""
    xmp: Any = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    if isinstance(xmp, str):
        xmp = xmp.encode(errors="replace")
    if not isinstance(xmp, bytes):
        return b""
    xmp = re.sub(rb"""(tiff:Orientation\s*=\s*["'])\d""", rb"\g<1>1", xmp)
    return re.sub(rb"(<tiff:Orientation>\s*)\d", rb"\g<1>1", xmp)
