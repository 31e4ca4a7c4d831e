"""EXIF, a TIFF structure, mended where it lies: makers' notes hold offsets, so what stays must not move."""

from __future__ import annotations

import re
import struct
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import NamedTuple

from PIL import ExifTags, Image

PREFIX = b"Exif\0\0"
"""Stands before a TIFF structure in JPEG; Pillow takes it everywhere when it writes."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By Orientation, as in ``PIL.ImageOps.exif_transpose``, which fails where other tags are broken."""

SIDEWAYS = (TURNS[5], TURNS[6], TURNS[7], TURNS[8])
"""Turns that exchange width and height."""

_ASCII, _SHORT, _LONG, _RATIONAL, _IFD = 2, 3, 4, 5, 13
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
"""Bytes of a value by its type."""

_NUMBERS = {_SHORT: "H", _LONG: "I", _RATIONAL: "II", 10: "ii", _IFD: "I"}
"""Types of numbers, in the letters of ``struct``."""

_ORIENTATION = 0x112
_EXIF, _GPS, _INTEROPERABILITY = ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, 0xA005
_RESOLUTION = (0x11A, 0x11B, 0x128)
"""XResolution, YResolution, ResolutionUnit."""
_IPTC = (0x83BB, 0x8649)
"""IPTC, and Photoshop's blocks that hold it."""

_OTHER_PIXELS = frozenset((
    # How the pixels are stored, in IFD0: samples, strips, tiles, JPEG's tables, further directories.
    *(0xFE, 0xFF, *range(0x102, 0x10B), 0x111, *range(0x115, 0x11A), 0x11C, *range(0x120, 0x126)),
    *(*range(0x140, 0x147), 0x14A, *range(0x14C, 0x15C), *range(0x200, 0x20A)),
    # Their colours: TransferFunction, WhitePoint, PrimaryChromaticities, YCbCr..., black and white, profile.
    *(0x12D, 0x13D, 0x13E, 0x13F, *range(0x211, 0x215), 0x8773),
    # XMP, which is kept apart, and what is not kept.
    *(0x2BC, *_IPTC),
    # In EXIF's own directory: ComponentsConfiguration, CompressedBitsPerPixel, Interoperability, Gamma.
    *(0x9101, 0x9102, 0xA005, 0xA500),
))  # fmt: skip
"""Tags that describe pixels as they were in the file."""
_SIZES_OF_PICTURE = ((0x100, 0x101), (0xA002, 0xA003))
"""ImageWidth and ImageLength; PixelXDimension and PixelYDimension."""
_PLACES = (0x9214, 0xA214)
"""SubjectArea and SubjectLocation, in pixels before the turn."""
_SWAPPED = ((0x11A, 0x11B), (0xA20E, 0xA20F))
"""XResolution and YResolution, in the paper and in the focal plane."""


class Resolution(NamedTuple):
    """Pixels per unit, positive.

    unit: 2 an inch, 3 a centimetre, 1 none: the shape of a pixel is known alone.
    """

    x: Fraction
    y: Fraction
    unit: int = 2

    @classmethod
    def of(cls, x: Fraction | float, y: Fraction | float, unit: int = 2) -> Resolution | None:
        """None for values that say nothing: not positive, absurd, square without a unit, or 1."""
        try:
            values = [Fraction(value).limit_denominator(10**4) for value in (x, y)]
        except (TypeError, ValueError, OverflowError, ZeroDivisionError):  # NaN, infinity, and other types
            return None
        if not all(Fraction(1, 10) <= value <= 10**5 for value in values) or unit not in (1, 2, 3):
            return None
        nothing = values[0] == values[1] and (unit == 1 or values[0] == 1)
        return None if nothing else cls(values[0], values[1], unit)

    @property
    def dpi(self) -> tuple[float, float] | None:
        """Dots per inch; None without a unit."""
        if self.unit == 1:
            return None
        inch = Fraction(254, 100) if self.unit == 3 else 1
        return float(self.x * inch), float(self.y * inch)

    def is_about(self, other: Resolution | None) -> bool:
        """Whether another may be the same, of which some formats keep integers alone."""
        if other is None or self.dpi is None or other.dpi is None:
            return self == other
        return all(abs(a - b) <= 0.5 for a, b in zip(self.dpi, other.dpi, strict=True))


@dataclass(frozen=True)
class Kept:
    """What metadata have to say about the pixels that are kept, which are sRGB.

    size: width and height.
    turn: how the picture was turned to be upright.
    resolution: from outside EXIF, of the picture as it is now.
    """

    size: tuple[int, int]
    turn: Image.Transpose | None = None
    resolution: Resolution | None = None

    @property
    def sideways(self) -> bool:
        """Whether width and height were exchanged."""
        return self.turn in SIDEWAYS


@dataclass(frozen=True)
class _Entry:
    """value: 4 bytes, the value or where it is."""

    tag: int
    kind: int
    count: int
    value: bytes


@dataclass
class _Directory:
    """Entries as found at ``start``, where there is room for ``room`` of them; then the next one's place."""

    start: int
    room: int
    entries: list[_Entry]
    following: int = 0

    def find(self, tag: int) -> _Entry | None:
        return next((entry for entry in self.entries if entry.tag == tag), None)

    def remove(self, *tags: int) -> None:
        self.entries = [entry for entry in self.entries if entry.tag not in tags]

    def put(self, new: _Entry) -> None:
        """Add an entry, or replace the one of its tag."""
        self.remove(new.tag)
        self.entries = sorted([*self.entries, new], key=lambda entry: entry.tag)

    @property
    def span(self) -> range:
        return range(self.start, self.start + 6 + 12 * self.room)


@dataclass
class _Structure:
    """A TIFF structure. Reading raises ValueError or struct.error where there is none.

    lost: words for what could not stay.
    """

    data: bytearray
    order: str = field(init=False)
    lost: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(self.data[:4]))
        if order is None:
            raise ValueError("no TIFF structure")
        self.order = order

    def unpack(self, form: str, at: int) -> tuple[int, ...]:
        return struct.unpack_from(self.order + form, self.data, at)

    def pack(self, form: str, *values: int) -> bytes:
        return struct.pack(self.order + form, *values)

    def first(self, *, cut: bool = False) -> _Directory:
        return self.directory(self.unpack("I", 4)[0], cut=cut)

    def directory(self, start: int, *, cut: bool = False) -> _Directory:
        """The directory at a place. cut: only the first entries may be there."""
        (count,) = self.unpack("H", start)
        if cut:
            count = min(count, (len(self.data) - start - 2) // 12)
        end = start + 2 + 12 * count
        if end > len(self.data):
            raise ValueError("a directory is cut")
        entries = []
        for at in range(start + 2, end, 12):
            tag, kind, number = self.unpack("HHI", at)
            entries.append(_Entry(tag, kind, number, bytes(self.data[at + 8 : at + 12])))
        following = self.unpack("I", end)[0] if end + 4 <= len(self.data) else 0
        return _Directory(start, count, entries, following)

    def below(self, parent: _Directory, tag: int) -> _Directory | None:
        """The directory that an entry points to. An entry that points to none is removed."""
        entry = parent.find(tag)
        if entry is None:
            return None
        try:
            found = self.directory(self.unpack_value(entry))
        except (ValueError, struct.error):
            found = None
        if found is None or (found.start < parent.span.stop and parent.start < found.span.stop):
            parent.remove(tag)
            self.lost.append("broken parts of EXIF")
            return None
        return found

    def unpack_value(self, entry: _Entry) -> int:
        """A single integer. Raises ValueError for other values."""
        if entry.count != 1 or entry.kind not in (_SHORT, _LONG, _IFD):
            raise ValueError("not an integer")
        form = "H" if entry.kind == _SHORT else "I"
        return int(struct.unpack_from(self.order + form, entry.value)[0])

    def values(self, entry: _Entry) -> tuple[float, ...] | str:
        """Numbers, 6 at most, or 4 characters. Raises KeyError for other types, ZeroDivisionError."""
        if entry.kind == _ASCII:
            return entry.value.decode("latin-1")
        one, place = _NUMBERS[entry.kind], self.place(entry)
        form = self.order + one * min(entry.count, 6)
        found = struct.unpack_from(form, *((self.data, place.start) if place else (entry.value,)))
        pairs = zip(found[::2], found[1::2], strict=True)
        return tuple(a / b for a, b in pairs) if len(one) == 2 else found

    def place(self, entry: _Entry) -> range:
        """Where a value is that does not fit its entry; empty if it does, or if its type is unknown."""
        size = _SIZES.get(entry.kind, 0) * entry.count
        start = self.unpack_pointer(entry) if size > 4 else 0
        return range(start, start + size) if size > 4 else range(0)

    def unpack_pointer(self, entry: _Entry) -> int:
        return int(struct.unpack(self.order + "I", entry.value)[0])

    def fraction(self, entry: _Entry | None) -> Fraction | None:
        """A number; None if there is none."""
        try:
            if entry is None or entry.kind != _RATIONAL:
                return None if entry is None else Fraction(self.unpack_value(entry))
            return Fraction(*self.unpack("II", self.unpack_pointer(entry)))
        except (ValueError, ZeroDivisionError, struct.error):
            return None

    def resolution(self, directory: _Directory) -> Resolution | None:
        x, y, unit = map(self.fraction, map(directory.find, _RESOLUTION))
        unit = Fraction(2) if unit is None else unit
        return None if x is None else Resolution.of(x, x if y is None else y, int(unit))

    def integer(self, tag: int, value: int) -> _Entry:
        if value > 0xFFFF:
            return _Entry(tag, _LONG, 1, self.pack("I", value))
        return _Entry(tag, _SHORT, 1, self.pack("HH", value, 0))

    def rational(self, tag: int, value: Fraction) -> _Entry:
        """An entry whose value is appended to the structure."""
        self.data += bytes(len(self.data) % 2)
        entry = _Entry(tag, _RATIONAL, 1, self.pack("I", len(self.data)))
        self.data += self.pack("II", value.numerator, value.denominator)
        return entry

    def write(self, directory: _Directory) -> int:
        """Write a directory to its place, or to the end if there is not room enough; return where it is."""
        packed = self.pack("H", len(directory.entries))
        packed += b"".join(self.pack("HHI", e.tag, e.kind, e.count) + e.value for e in directory.entries)
        packed += self.pack("I", directory.following)
        self.erase(directory.span)
        if len(directory.entries) > directory.room:
            self.data += bytes(len(self.data) % 2)
            directory.start = len(self.data)
        self.data[directory.start : directory.start + len(packed)] = packed
        return directory.start

    def erase(self, span: range) -> None:
        part = slice(span.start, min(span.stop, len(self.data)))
        self.data[part] = bytes(len(self.data[part]))

    def drop_thumbnail(self, start: int, kept: list[_Directory]) -> None:
        """Erase a thumbnail's directory, and its JPEG, if they are surely nothing else's."""
        used = [range(8), *(directory.span for directory in kept)]
        used += [self.place(entry) for directory in kept for entry in directory.entries]
        try:
            directory = self.directory(start)
            place, size = (self.unpack_value(entry) for entry in map(directory.find, (0x201, 0x202)) if entry)
        except (ValueError, struct.error):
            return
        spans = [directory.span]
        if self.data[place : place + 2] == b"\xff\xd8":
            spans.append(range(place, place + size))
        for span in spans:
            if not any(span.start < other.stop and other.start < span.stop for other in used):
                self.erase(span)


def orientation(exif: bytes) -> int:
    """Orientation of a TIFF structure, whole or cut; 0 if it has none. Raises ValueError, struct.error."""
    structure = _Structure(bytearray(exif))
    entry = structure.first(cut=True).find(_ORIENTATION)
    return 0 if entry is None else structure.unpack_value(entry)


def resolution(exif: bytes) -> Resolution | None:
    """Resolution that a TIFF structure gives. Raises ValueError, struct.error."""
    structure = _Structure(bytearray(exif))
    return structure.resolution(structure.first())


def fields(exif: bytes, tags: Collection[int]) -> dict[int, tuple[float, ...] | str]:
    """What EXIF says under these tags, in its directories for pictures, for EXIF and for interoperability.

    exif: with or without its prefix. Raises ValueError or struct.error if it is no TIFF structure.
    """
    structure = _Structure(bytearray(re.sub(b"^(Exif\0\0)+", b"", exif)))
    found: dict[int, tuple[float, ...] | str] = {}
    directory: _Directory | None = structure.first(cut=True)
    for below in (_EXIF, _INTEROPERABILITY, 0):
        for entry in directory.entries if directory else ():
            if entry.tag in tags:
                with suppress(KeyError, ZeroDivisionError, struct.error):
                    found[entry.tag] = structure.values(entry)
        directory = directory and structure.below(directory, below)
    return found


def says_more(exif: bytes) -> bool:
    """Whether a TIFF structure has more than a resolution. Raises ValueError, struct.error."""
    return any(entry.tag not in _RESOLUTION for entry in _Structure(bytearray(exif)).first().entries)


def mend(exif: bytes, kept: Kept) -> tuple[bytes, list[str]]:
    """The same TIFF structure, true about the pixels that are kept, and words for what is gone.

    exif: empty for a new one, of the resolution alone.

    Orientation, sizes, colour space and resolution are put right; the thumbnail and what describes other
    pixels are removed. Raises ValueError or struct.error if it is no TIFF structure.
    """
    if not exif:
        if kept.resolution is None:
            return b"", []
        exif = b"II*\0\x08\0\0\0" + bytes(6)
    structure = _Structure(bytearray(exif))
    top = structure.first()
    if any(map(top.find, _IPTC)):
        structure.lost.append("IPTC")
    parts = [top]
    for tag in (_EXIF, _GPS):
        if part := structure.below(top, tag):
            parts.append(part)
    for part in parts[:2] if top.find(_EXIF) else parts[:1]:
        _mend_directory(structure, part, kept)
    _mend_resolution(structure, top, kept.resolution)
    if top.following:
        structure.lost.append("thumbnail")
        structure.drop_thumbnail(top.following, parts)
        top.following = 0
    if not top.entries:
        return b"", structure.lost
    for part in parts[1:]:
        structure.write(part)
    structure.data[4:8] = structure.pack("I", structure.write(top))
    return bytes(structure.data), structure.lost


def _mend_directory(structure: _Structure, directory: _Directory, kept: Kept) -> None:
    directory.remove(*_OTHER_PIXELS)
    if kept.turn is not None:
        directory.remove(*_PLACES)
    values = {_ORIENTATION: 1, 0xA001: 1}
    for tags in _SIZES_OF_PICTURE:
        values.update(zip(tags, kept.size, strict=True))
    for tag, value in values.items():
        if entry := directory.find(tag):
            new = structure.integer(tag, value)
            if entry.kind == _LONG and entry.count == 1:
                new = _Entry(tag, _LONG, 1, structure.pack("I", value))
            directory.put(new)
    for pair in _SWAPPED if kept.sideways else ():
        entries = [entry for entry in map(directory.find, pair) if entry]
        for entry in entries if len(entries) == 2 else ():
            directory.put(replace(entry, tag=pair[1] if entry.tag == pair[0] else pair[0]))


def _mend_resolution(structure: _Structure, top: _Directory, known: Resolution | None) -> None:
    said = structure.resolution(top)
    if said is None:
        top.remove(*_RESOLUTION)
    if known is None or known.is_about(said) or (said is not None and known.unit == 1):
        return
    top.put(structure.rational(_RESOLUTION[0], known.x))
    top.put(structure.rational(_RESOLUTION[1], known.y))
    top.put(structure.integer(_RESOLUTION[2], known.unit))
