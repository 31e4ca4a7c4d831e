"""EXIF, XMP and resolution: which way is up, and what to keep. None of it can fail an image."""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import IO, Any

from PIL import ExifTags, Image

from ..container.sections import MAX_METADATA
from . import exif as exif_bytes
from . import xmp as xmp_bytes
from .choice import from_start
from .declaration import boxes
from .exif import PREFIX, SIDEWAYS, TURNS, Kept, Resolution
from .lock import Lock

DROPPED = "ctc_codec.dropped"
"""Key in ``Image.info``: words for metadata left out of a file before Pillow opened it, a list."""

_IFDS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_TIFF_TAGS = frozenset(
    # Words, makers, dates and resolution, which may go from one TIFF into another; nothing about its pixels.
    [269, 270, 271, 272, 282, 283, 285, 296, 305, 306, 315, 316, 33432, *range(0x9C9B, 0x9CA0), *_IFDS]
)

XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
_GIF_XMP, _GIF_XMP_END = b"!\xff\x0bXMP DataXMP", b"\x01\xff\xfe\xfd"
_MAX_FILE = 1 << 28
"""Bytes of a file in which metadata are looked for."""

_JP2_XMP, _JP2_EXIF = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC"), b"JpgTiffExif->JP2"
"""What boxes of JPEG 2000 begin with."""

_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"

_TIFF_WORDS = {33550: "georeference", 34264: "georeference", 33723: "IPTC", 34377: "IPTC", 37724: "layers"}
"""Tags of a TIFF that are not kept, and what they hold: of GeoTIFF, IPTC, and Photoshop."""

_KNOWN_TEXT = (
    "XML:com.adobe.xmp",
    *(f"Raw profile type {name}" for name in ("exif", "APP1", "xmp", "iptc", "8bim")),
)
"""Text of PNGs that is looked into, and not lost for being text."""


_quiet = Lock()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Pillow from warning of metadata, even where warnings are errors. One thread at a time."""
    with _quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# --- which way is up --------------------------------------------------------------------------------


def read_turn(image: Image.Image) -> Image.Transpose | None:
    """Turn that EXIF's Orientation of a loaded image asks for, or XMP's; None: it is upright as it is."""
    try:
        if image.format == "TIFF":  # which Pillow has turned, but for files that it turns by XMP
            return TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata says nothing about the pixels
        return None
    # Decoders of JPEG XL turn the picture by what its own header says, but not a JPEG that is packed in it.
    # Photoshop turns what it opens.
    if (image.format == "JXL" and not getattr(image, "jpeg", False)) or image.format == "PSD":
        return None
    try:
        found = exif_bytes.orientation(_raw_exif(image))
    except (ValueError, struct.error):
        found = 0
    return TURNS.get(found or xmp_bytes.orientation(_raw_xmp(image)))


def remember_metadata(image: Image.Image, file: IO[bytes]) -> None:
    """Keep in ``info`` what Pillow does not read in GIF, JPEG XL and JPEG 2000.

    file: the whole of it, at any position, where it stays.
    """
    finder = {"GIF": _in_gif, "JXL": _in_boxes, "JPEG2000": _in_boxes}.get(image.format or "")
    if finder is None or "xmp" in image.info:
        return
    with suppress(Exception), from_start(file):
        for key, value in finder(file.read(_MAX_FILE)):
            image.info.setdefault(key, value)


def _in_gif(data: bytes) -> Iterator[tuple[str, Any]]:
    start = data.find(_GIF_XMP) + len(_GIF_XMP)
    end = data.find(_GIF_XMP_END, start)
    if start >= len(_GIF_XMP) and end >= 0:
        yield "xmp", data[start:end]


def _in_boxes(data: bytes) -> Iterator[tuple[str, Any]]:
    for name, content in boxes(data):
        if name == b"xml " and data[4:8] == b"JXL ":
            yield "xmp", content
        elif name == b"jp2h":
            # Pixels a metre on the display; Pillow reads those of the capture.
            display = dict(boxes(dict(boxes(content)).get(b"res ", b""))).get(b"resd", b"")
            with suppress(struct.error, ArithmeticError):
                y, below_y, x, below_x, power_y, power_x = struct.unpack(">4H2b", display)
                yield "dpi", (x / below_x * 10**power_x * 0.0254, y / below_y * 10**power_y * 0.0254)
        elif name == b"brob" and content.startswith(b"xml "):
            yield DROPPED, ["compressed XMP"]
        elif name == b"uuid" and content.startswith(_JP2_XMP):
            yield "xmp", content[len(_JP2_XMP) :]
        elif name == b"uuid" and content.startswith(_JP2_EXIF):
            yield "exif", content[len(_JP2_EXIF) :]


# --- what to keep -----------------------------------------------------------------------------------


def read_metadata(image: Image.Image, turn: Image.Transpose | None, notes: list[str]) -> tuple[bytes, bytes]:
    """EXIF and XMP of a loaded image, as in :class:`ctc_codec.image.source.SourceImage`, each may be empty.

    Both say what is true about sRGB pixels that are turned; the resolution that the file gives elsewhere goes
    into EXIF. All else stays as it is, byte by byte, but a TIFF's tags are written anew.

    turn: as from :func:`read_turn`.
    notes: gets a line about what is broken or too long, and one that names what is not kept.
    """
    size = image.size[::-1] if turn in SIDEWAYS else image.size
    known, lost = None, []
    with suppress(Exception):  # entries of ``info`` may be anything
        turn = turn or _turned_by_pillow(image)
        known = _resolution(image)
        lost = _lost_outside(image)
    if known and turn in SIDEWAYS:
        known = known._replace(x=known.y, y=known.x)
    kept = Kept(size, turn, known)
    exif, words = _mended("EXIF data", exif_bytes.mend, _raw_exif(image), kept, notes)
    lost += words
    if exif:
        kept = replace(kept, resolution=exif_bytes.resolution(exif))
    xmp, words = _mended("XMP data", xmp_bytes.mend, _raw_xmp(image), kept, notes)
    lost += words
    if lost:
        notes.append(f"not kept: {', '.join(dict.fromkeys(lost))}")
    return exif, xmp


def too_long(what: str, data: bytes) -> str | None:
    """A note that metadata are too long to be kept; None if they are not."""
    if len(data) <= MAX_METADATA:
        return None
    return f"{what} of {len(data)} bytes are too long to be kept: dropped"


def _mended(
    what: str,
    mend: Callable[[bytes, Kept], tuple[bytes, list[str]]],
    data: bytes,
    kept: Kept,
    notes: list[str],
) -> tuple[bytes, list[str]]:
    """Metadata as they are kept, and words for what is gone. Broken ones are left out, with a note."""
    note = too_long(what, data)
    if note is None:
        try:
            out, lost = mend(data, kept)
            note = too_long(what, out)
        except (ValueError, struct.error):
            note = f"{what} are broken: dropped"
    if note is None:
        return out, lost
    notes.append(note)
    # What the file says outside of them is true still.
    return (mend(b"", kept)[0] if mend is exif_bytes.mend else b""), []


def _turned_by_pillow(image: Image.Image) -> Image.Transpose | None:
    """How Pillow, or its plugin for HEIF, turned an image when it was opened: one of the ways possible."""
    if image.format == "HEIF":
        return TURNS.get(image.info.get("original_orientation") or 1)
    tags = getattr(image, "tag_v2", {})
    sides = tags.get(256), tags.get(257)
    return TURNS[6] if sides[::-1] == image.size != sides else None


def _raw_exif(image: Image.Image) -> bytes:
    """EXIF as a file has it, without its prefix; empty if there is none."""
    exif: Any = image.info.get("exif") or _raw_profile(image, "exif")
    if not exif and image.format == "PSD":
        exif = _photoshop(image).get(1058)
    if not exif and image.format == "TIFF":
        with suppress(Exception):
            exif = tiff_exif(image.getexif())
    if not exif and (segment := _raw_profile(image, "APP1")).startswith(PREFIX):
        exif = segment
    if not isinstance(exif, bytes | bytearray | memoryview):
        return b""
    return re.sub(b"^(Exif\0\0)+", b"", bytes(exif))


def _raw_xmp(image: Image.Image) -> bytes:
    """XMP as a file has it; empty if there is none."""
    xmp: Any = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or _raw_profile(image, "xmp")
    xmp = xmp or _photoshop(image).get(1060)
    if not xmp and (segment := _raw_profile(image, "APP1")).startswith(XMP_PREFIX):
        xmp = segment.removeprefix(XMP_PREFIX)
    if isinstance(xmp, str):
        xmp = xmp.encode(errors="replace")
    return xmp if isinstance(xmp, bytes) else b""


def _raw_profile(image: Image.Image, name: str) -> bytes:
    """Metadata that ImageMagick writes into PNG as hexadecimal text after three lines."""
    text = image.info.get(f"Raw profile type {name}")
    with suppress(ValueError):
        if isinstance(text, str):
            return bytes.fromhex("".join(text.split("\n")[3:]))
    return b""


def _photoshop(image: Image.Image) -> dict[int, Any]:
    """Photoshop's blocks in JPEG and PSD, by their number."""
    blocks = image.info.get("photoshop")
    if isinstance(blocks, dict):
        return blocks
    return {number: data for number, _, data in getattr(image, "resources", ())}


def tiff_exif(exif: Image.Exif, xmp: bytes = b"") -> bytes:
    """TIFF structure, with prefix, of XMP and the tags that may go into another file; empty without any."""
    kept = Image.Exif()
    for tag in sorted(_TIFF_TAGS.intersection(exif)):
        with suppress(Exception):  # a broken tag; others are sound
            one = Image.Exif()
            one[tag] = exif.get_ifd(tag) if tag in _IFDS else exif[tag]
            one.tobytes()
            kept[tag] = one[tag]
    if xmp:
        kept[ExifTags.Base.XMLPacket] = xmp
    return kept.tobytes() if len(kept) else b""


def _resolution(image: Image.Image) -> Resolution | None:
    """Resolution that a file gives outside EXIF."""
    info, kind = image.info, image.format
    if found := _resolution_of(info.get("jfif_density"), {1: 2, 2: 3}.get(info.get("jfif_unit", 0), 1)):
        return found
    if block := _photoshop(image).get(1005):
        if isinstance(block, bytes) and len(block) >= 12:
            block = {"XResolution": _fixed(block), "YResolution": _fixed(block[8:])}
        if isinstance(block, dict):
            return _resolution_of((block.get("XResolution"), block.get("YResolution")))
    if "aspect" in info:
        return _resolution_of(info["aspect"], 1)
    dpi = info.get("dpi")
    # TIFF's are among its tags. PCX's are the size of a screen in many files. Pillow says 72 of a JPEG whose
    # EXIF says nothing.
    if kind in ("TIFF", "JPEG", "MPO", "PCX", "DCX") or (dpi == (72, 72) and "exif" in info):
        return None
    return _resolution_of(dpi)


def _fixed(block: bytes) -> float:
    """Photoshop's numbers, with 16 bits of fraction."""
    return int.from_bytes(block[:4], "big") / 65536


def _resolution_of(values: Any, unit: int = 2) -> Resolution | None:
    with suppress(TypeError, ValueError):
        x, y = values
        return Resolution.of(x, y, unit)
    return None


# --- what is not kept -------------------------------------------------------------------------------


def _lost_outside(image: Image.Image) -> list[str]:
    """Words for metadata outside EXIF and XMP."""
    info, kind = image.info, image.format
    segments = getattr(image, "applist", ())
    chunks = {name for name, *_ in getattr(image, "private_chunks", ())}
    lost = [str(word) for word in info.get(DROPPED, ())]
    if 1028 in _photoshop(image) or _raw_profile(image, "iptc") or _raw_profile(image, "8bim"):
        lost.append("IPTC")
    if kind == "TIFF":
        lost += [word for tag, word in _TIFF_WORDS.items() if tag in getattr(image, "tag_v2", ())]
    words = (info.get(name) for name in ("comment", "id_section"))
    if kind != "JPEG2000" and any(isinstance(text, bytes | str) and text.strip() for text in words):
        lost.append("comment")  # JPEG 2000's is the name of the encoder
    if set(getattr(image, "text", ())).difference(_KNOWN_TEXT):
        lost.append("text")
    if any(marker == "APP11" and data[:2] == b"JP" for marker, data in segments) or b"caBX" in chunks:
        lost.append("C2PA")
    if any(marker == "APP1" and data.startswith(_EXTENDED_XMP) for marker, data in segments):
        lost.append("extended XMP")
    if info.get("thumbnails"):
        lost.append("thumbnail")
    if info.get("depth_images"):
        lost.append("depth map")
    if aux := info.get("aux"):
        is_map = any("gainmap" in str(name).lower() for name in aux)
        lost.append("gain map" if is_map else "auxiliary pictures")
    return lost
