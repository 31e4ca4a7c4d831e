"""What image files say about their colours, in any of the ways that their formats have."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from PIL import Image

from .choice import from_start
from .exif import fields
from .profile import ADOBE_RGB, LEVELS, ROMM, Floats, Points, from_h273, from_points, rgb_profile, romm_curve

DECLARED = "ctc_codec.colours"
"""Key in ``Image.info``: a frame, its profile as Pillow has it, and its statements: see :func:`remember`."""

BROKEN = "the embedded colour profile is broken: ignored"

BRIGHT = {16: "PQ", 18: "HLG"}
"""TransferCharacteristics of H.273 for high dynamic range."""

_MAX_PROFILE = 16 << 20
"""Bytes of a profile, or of a box or block that colours are looked for in; what is longer is left alone."""

_MAX_PARTS = 10_000
"""Chunks, boxes or blocks that are looked at in one file."""


@dataclass(frozen=True)
class Colours:
    """One statement about colours.

    profile: an ICC profile that says the same; empty if there is none.
    note: a line for the user, unless a statement before this one counts.
    embedded: whether the profile stands in the file itself.
    """

    profile: bytes = b""
    note: str = ""
    embedded: bool = False


@functools.cache
def srgb() -> Colours:
    """sRGB. Made when it is asked for: linear algebra takes memory, and a decoder needs none."""
    return Colours(from_h273(1, 13))


def declared(image: Image.Image) -> list[Colours]:
    """Statements of an image about its colours, in their order of precedence; empty: sRGB, as is usual."""
    _, profile, known = image.info.get(DECLARED, (0, None, None))
    changed = profile != image.info.get("icc_profile")  # the caller has converted it since, for example
    return _statements(image, None) if known is None or changed else list(known)


def remember(image: Image.Image, file: IO[bytes]) -> None:
    """Keep in an image's ``info`` what its file says about colours, most of which Pillow forgets.

    file: the whole of it, at any position, where it stays.
    """
    frame = image.tell()
    if image.info.get(DECLARED, (None,))[0] == frame:
        return
    with suppress(Exception), from_start(file):
        image.info[DECLARED] = frame, image.info.get("icc_profile"), _statements(image, file)


def _statements(image: Image.Image, file: IO[bytes] | None) -> list[Colours]:
    kind = image.format or ""
    found: list[Colours] = []
    if file is not None and kind in _READERS:
        with suppress(Exception):  # what is damaged says nothing
            for colours in _READERS[kind](file, image):  # one by one: those before the damage count
                found.append(colours)
    if not (found and kind == "PNG"):
        with suppress(Exception):
            found = [*_info(image), *found]
    if kind == "TIFF":
        with suppress(Exception):
            found += _tiff(image)
    with suppress(Exception):
        found += _exif(image)
    return found


def _info(image: Image.Image) -> Iterator[Colours]:
    """What Pillow hands over: a profile, a PNG's chunks, the numbers of HEIF."""
    info = image.info
    profile = info.get("icc_profile")
    if isinstance(profile, bytes) and profile:
        yield Colours(profile, embedded=True)
    elif any(a == "APP2" and data.startswith(b"ICC_PROFILE\0") for a, data in getattr(image, "applist", ())):
        yield Colours(note=BROKEN)  # parts of it are missing
    if isinstance(nclx := info.get("nclx_profile"), dict):
        yield from _numbered(nclx["color_primaries"], nclx["transfer_characteristics"])
    if "srgb" in info:
        yield srgb()
    elif "gamma" in info or "chromaticity" in info:
        gamma = info.get("gamma", 0)
        yield from _points(tuple(info.get("chromaticity", ())), 1 / gamma if gamma else None)


def _points(points: Points, curve: float | Floats | None) -> Iterator[Colours]:
    """White and primaries, empty without, and an exponent or a curve. One of them that is none is ignored."""
    for some, light in ((points, curve), (points, None), ((), curve)):
        if some or light is not None:
            with suppress(ValueError):
                yield Colours(from_points(some or None, light))
                return


def _numbered(primaries: int, transfer: int, full: bool = True) -> Iterator[Colours]:
    """Colours by the numbers of H.273."""
    if primaries == transfer == 2:  # unspecified
        return
    try:
        profile = from_h273(primaries, transfer, full)
    except ValueError:
        yield Colours(note=f"colours of unknown numbers ({primaries}, {transfer}) in H.273: ignored")
    else:
        bright = BRIGHT.get(transfer)
        yield Colours(profile, high_dynamic_range(bright) if bright else "")


def high_dynamic_range(name: str) -> str:
    """A warning about colours of this curve, PQ or HLG."""
    return f"warning: its colours are of high dynamic range ({name}): sRGB loses the brightest"


def profile_curve(profile: bytes) -> int:
    """TransferCharacteristics of H.273 in the tag cicp of an ICC profile (version 4.4); 2 without one."""
    with suppress(struct.error):
        for place in range(132, 132 + 12 * min(100, *struct.unpack_from(">I", profile, 128)), 12):
            name, start = struct.unpack_from(">4sI", profile, place)
            if name == b"cicp":
                return int(struct.unpack_from("9xB", profile, start)[0])
    return 2


# --- formats ----------------------------------------------------------------------------------------


def _png(file: IO[bytes], image: Image.Image) -> Iterator[Colours]:
    chunks: dict[bytes, bytes] = {}
    file.seek(8, io.SEEK_CUR)
    for _part in range(_MAX_PARTS):
        head = file.read(8)
        length, name = int.from_bytes(head[:4], "big"), head[4:]
        if name in (b"IDAT", b"IEND", b""):
            break
        if name in (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM") and length <= _MAX_PROFILE:
            data = file.read(length)
            sound = file.read(4) == zlib.crc32(name + data).to_bytes(4, "big")
            if sound or name == b"iCCP":  # which zlib checks too
                chunks.setdefault(name, data)
        else:
            file.seek(length + 4, io.SEEK_CUR)
    cicp = chunks.get(b"cICP", b"")
    if len(cicp) == 4 and cicp[2] == 0 and cicp[3] < 2:
        yield from _numbered(cicp[0], cicp[1], full=cicp[3] == 1)
    elif cicp:
        yield Colours(note="its cICP chunk is broken: ignored")
    if profile := image.info.get("icc_profile"):
        yield Colours(profile, embedded=True)
    elif b"iCCP" in chunks:  # too long or too broken for Pillow
        yield _iccp(chunks[b"iCCP"])
    if len(chunks.get(b"sRGB", b"")) == 1:
        yield srgb()
        return
    gamma = int.from_bytes(chunks.get(b"gAMA", b""), "big") if len(chunks.get(b"gAMA", b"")) == 4 else 0
    points = chunks.get(b"cHRM", b"")
    chromaticity = tuple(v / 100_000 for v in struct.unpack(">8i", points)) if len(points) == 32 else ()
    yield from _points(chromaticity, 100_000 / gamma if gamma else None)


def _iccp(chunk: bytes) -> Colours:
    """The profile of a PNG's chunk: a name, a zero, the compression method 0, and what zlib compressed."""
    start = chunk.find(b"\0") + 2
    unpacker = zlib.decompressobj()
    try:
        profile = unpacker.decompress(chunk[start:], _MAX_PROFILE)
    except zlib.error:
        return Colours(note=BROKEN)
    if start < 2 or chunk[start - 1] != 0 or not profile or unpacker.unconsumed_tail:
        return Colours(note=BROKEN)
    return Colours(profile, embedded=True)


def _icon(file: IO[bytes], image: Any) -> Iterator[Colours]:
    """An icon of Windows or of a Mac, if its picture is a PNG."""
    if image.format == "ICO":
        start = image.ico.entry[image.ico.getentryindex(image.size)].offset
    else:
        start = next(
            image.icns.dct[k][0] for k, _ in image.icns.SIZES[image.best_size] if k in image.icns.dct
        )
    file.seek(start)
    if file.read(4) == b"\x89PNG":
        file.seek(start)
        yield from _png(file, image)


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents of boxes as of ISO/IEC 14496-12 and JPEG 2000."""
    at = 0
    for _part in range(_MAX_PARTS):
        if at + 8 > len(data):
            return
        size, name = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1 and at + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        end = at + size if size else len(data)
        if size and size < head:
            return
        yield name, data[at + head : end]
        at = end


def _box(file: IO[bytes], wanted: bytes) -> bytes:
    """Content of the first box of this name at the top level of a file; empty without one."""
    for _part in range(_MAX_PARTS):
        head = file.read(8)
        if len(head) < 8:
            break
        size, name = struct.unpack(">I4s", head)
        size = struct.unpack(">Q", file.read(8))[0] - 16 if size == 1 else size - 8
        if name == wanted:
            return file.read(min(size, _MAX_PROFILE) if size >= 0 else _MAX_PROFILE)
        if size < 0:  # up to the end of the file
            break
        file.seek(size, io.SEEK_CUR)
    return b""


def _avif(file: IO[bytes], _: Image.Image) -> Iterator[Colours]:
    """The numbers of the primary picture. Pillow has its profile, which takes precedence."""
    meta = dict(boxes(_box(file, b"meta")[4:]))
    narrow = meta[b"pitm"][0] == 0
    (primary,) = struct.unpack_from(">H" if narrow else ">I", meta[b"pitm"], 4)
    items = [primary]
    references = meta.get(b"iref", b"")
    for name, data in boxes(references[4:]):
        one = ">H" if references[0] == 0 else ">I"
        if name == b"dimg" and struct.unpack_from(one, data)[0] == primary:  # a grid of tiles
            items.append(struct.unpack_from(one, data, struct.calcsize(one) + 2)[0])
    properties = list(boxes(meta[b"iprp"]))
    contents = [box for name, data in properties if name == b"ipco" for box in boxes(data)]
    of_items: dict[int, list[int]] = {}
    for name, data in properties:
        if name == b"ipma":
            of_items |= _associations(data)
    for item in items:
        for index in of_items.get(item, []):
            name, colr = contents[index - 1] if 0 < index <= len(contents) else (b"", b"")
            if name == b"colr" and colr[:4] == b"nclx":
                yield from _numbered(*struct.unpack_from(">HH", colr, 4))
                return


def _associations(data: bytes) -> dict[int, list[int]]:
    """Numbers of its properties, from 1, for each item of a box ipma."""
    of_items = {}
    version, flags, count = data[0], data[3], struct.unpack_from(">I", data, 4)[0]
    at = 8
    for _part in range(min(count, len(data) // 3)):
        item, number = struct.unpack_from(">HB" if version == 0 else ">IB", data, at)
        at += 3 if version == 0 else 5
        one, mask = (">H", 0x7FFF) if flags & 1 else (">B", 0x7F)
        step = struct.calcsize(one)
        end = at + number * step
        of_items[item] = [struct.unpack_from(one, data, place)[0] & mask for place in range(at, end, step)]
        at = end
    return of_items


_JP2_MODELS = {
    **dict.fromkeys((1, 3, 4, 9, 13, 22, 23, 24), "YCbCr of a rare kind"),
    **dict.fromkeys((25, 26), "scRGB"),
    11: "CMY",
    14: "CIELab",
    19: "CIEJab",
    20: "e-sRGB",
}
"""Enumerated colour spaces of JPEG 2000 (ISO/IEC 15444-1 and -2) that neither OpenJPEG nor we convert."""


def _jpeg2000(file: IO[bytes], _: Image.Image) -> Iterator[Colours]:
    for name, data in boxes(_box(file, b"jp2h")):
        method = data[0] if name == b"colr" and len(data) > 3 else 0
        if method in (2, 3):
            yield Colours(data[3:], embedded=True)
        elif method == 5 and len(data) >= 10:
            yield from _numbered(*struct.unpack_from(">HH", data, 3))
        elif method == 1 and len(data) >= 7:
            (space,) = struct.unpack_from(">I", data, 3)
            if space in (16, 17, 18):
                yield srgb()
            elif space == 21:
                yield Colours(rgb_profile("ROMM RGB (ProPhoto)", ROMM, romm_curve(LEVELS)))
            elif space not in (0, 12, 15):  # black and white, or CMYK
                model = _JP2_MODELS.get(space, f"of the unknown number {space}")
                yield Colours(note=f"warning: its colours are {model}: they are taken as sRGB")


def _bmp(file: IO[bytes], image: Image.Image) -> Iterator[Colours]:
    """Headers of versions 4 and 5: ``BITMAPV4HEADER`` and ``BITMAPV5HEADER``."""
    start = 0 if image.format == "DIB" else 14
    file.seek(start)
    head = file.read(124)
    size, kind = struct.unpack_from("<I", head)[0], head[56:60][::-1]
    if size < 108 or len(head) < 108:
        return
    if kind == b"\0\0\0\0":
        # X, Y and Z of red, green and blue, whose sum is white; and the exponent of each.
        xyz = np.array(struct.unpack_from("<9i", head, 60)).reshape(3, 3) / (1 << 30)
        (gamma,) = struct.unpack_from("<4xI4x", head, 96)  # of green
        points: Points = ()
        if xyz.any():
            all_xyz = np.vstack([xyz.sum(axis=0), xyz])
            with np.errstate(all="ignore"):
                points = tuple((all_xyz[:, :2] / all_xyz.sum(axis=1, keepdims=True)).ravel().tolist())
        yield from _points(points, gamma / 65536 or None)
    elif kind == b"MBED" and size >= 124 and len(head) == 124:
        place, length = struct.unpack_from("<II", head, 112)
        if length <= _MAX_PROFILE:
            file.seek(start + place)
            yield Colours(file.read(length), embedded=True)
    elif kind == b"LINK":
        yield Colours(note="its colour profile is another file: ignored")
    elif kind in (b"sRGB", b"Win "):
        yield srgb()


def _tga(file: IO[bytes], _: Image.Image) -> Iterator[Colours]:
    """The gamma in the extension area of version 2; 1 is light as it is."""
    file.seek(-26, io.SEEK_END)
    footer = file.read(26)
    if footer[8:24] == b"TRUEVISION-XFILE" and (place := struct.unpack("<I", footer[:4])[0]):
        file.seek(place + 478)
        above, below = struct.unpack("<HH", file.read(4))
        if below and 1 <= above / below <= 4:
            yield from _points((), above / below)


def _qoi(file: IO[bytes], _: Image.Image) -> Iterator[Colours]:
    """Its byte is "purely informative", and writers, Pillow among them, set it for any picture."""
    if file.read(14)[13] == 1:
        yield Colours(note="its header calls its colours linear, as some writers always do: taken as sRGB")


def _gif(file: IO[bytes], _: Image.Image) -> Iterator[Colours]:
    """The application extension ICCRGBG1, before the first frame."""
    flags = file.read(13)[10]
    if flags & 128:
        file.seek(3 << (flags & 7) + 1, io.SEEK_CUR)
    for _part in range(_MAX_PARTS):
        if file.read(1) != b"\x21":  # no extension: the frame
            return
        label, size = file.read(2)
        ours = label == 0xFF and file.read(size) == b"ICCRGBG1012"
        if label != 0xFF:
            file.seek(size, io.SEEK_CUR)
        parts, total = [], 0
        while size and (size := file.read(1)[0]) and total < _MAX_PROFILE:
            parts.append(file.read(size) if ours else b"")
            if not ours:
                file.seek(size, io.SEEK_CUR)
            total += size
        if ours:
            yield Colours(b"".join(parts), embedded=True)
            return


_READERS: dict[str, Callable[[IO[bytes], Image.Image], Iterator[Colours]]] = {
    "PNG": _png,
    "ICO": _icon,
    "ICNS": _icon,
    "AVIF": _avif,
    "JPEG2000": _jpeg2000,
    "BMP": _bmp,
    "DIB": _bmp,
    "TGA": _tga,
    "QOI": _qoi,
    "GIF": _gif,
}
"""By Pillow's names of formats. Each reads from the start of the file."""

# --- TIFF and EXIF ----------------------------------------------------------------------------------


def _tiff(image: Any) -> Iterator[Colours]:
    """Tags 318, 319 and 301: white, primaries and tables of the light of each sample."""
    tags = image.tag_v2
    points = _chromaticity(tags.get(318), tags.get(319))
    curve = None
    if 301 in tags:
        table = np.array(tags[301], float) / 65535
        levels = 1 << int(max(tags.get(258, (1,))))
        if len(table) in (levels, 3 * levels) and levels >= 4:
            curve = table.reshape(-1, levels)[:, np.rint(LEVELS * (levels - 1)).astype(int)]
            if tags.get(262) == 0:  # white is zero, until Pillow has turned it round
                curve = curve[:, ::-1]
    yield from _points(points, curve)


def _chromaticity(white: Any, primaries: Any) -> Points:
    """x and y of white, red, green and blue of two tags of TIFF and EXIF; empty unless all are there."""
    points = tuple(float(v) for v in [*(white or ()), *(primaries or ())])
    return points if len(points) == 8 else ()


_EXIF_TAGS = frozenset((1, 318, 319, 0xA001, 0xA500))
"""InteroperabilityIndex, WhitePoint, PrimaryChromaticities, ColorSpace, Gamma."""


def _exif(image: Image.Image) -> Iterator[Colours]:
    """ColorSpace, and the fields of DCF's optional colour space."""
    if image.format == "TIFF":
        exif = image.getexif()
        known = dict(exif.get_ifd(0x8769))
        if 0xA005 in known:  # without it Pillow 12 fails
            known[1] = exif.get_ifd(0xA005).get(1)
    else:
        known = fields(image.info.get("exif", b""), _EXIF_TAGS)
    space = known.get(0xA001)
    space = space[0] if isinstance(space, tuple) else space
    if space == 1:
        yield srgb()
    elif space == 2 or str(known.get(1)).startswith("R03"):
        yield Colours(rgb_profile("Adobe RGB (1998)", ADOBE_RGB, LEVELS ** (563 / 256)))
    else:
        gamma = known.get(0xA500)
        exponent = float(gamma[0] if isinstance(gamma, tuple) else gamma or 0)
        yield from _points(_chromaticity(known.get(318), known.get(319)), exponent or None)
        if space:
            name = "uncalibrated" if space == 0xFFFF else f"number {space}"
            yield Colours(note=f"its EXIF calls its colours {name}: they are taken as sRGB")
