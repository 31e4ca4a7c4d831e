"""Which of a file's pictures is the one, and what its alpha is, where Pillow does not ask the file."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

from PIL import Image

from ..container.header import check_pixels
from ..errors import InputError

CHOICE = "ctc_codec.choice"
"""Key in ``Image.info``: what to say of the choice among a file's pictures, a list of notes."""

PAGES = "ctc_codec.pages"
"""Key in ``Image.info``: pages of a TIFF, a tuple of :class:`Page`."""

ALPHA = "ctc_codec.alpha"
"""Key in ``Image.info``: what a file says about its alpha.

UNUSED, PREMULTIPLIED, INVERTED as Pillow reads it, or UNREAD by Pillow.
"""

UNUSED, PREMULTIPLIED, INVERTED, UNREAD = "unused", "premultiplied", "inverted", "unread"

_MAX_PAGES = 1000
"""Pages of a TIFF that are looked at; further ones are not chosen."""

_MAX_ENTRIES = 100_000
"""Entries of a TIFF's directories that are looked at, all together."""

_MAX_INNER = 16
"""Directories inside another one that are looked at."""

_WIDTH, _HEIGHT, _PHOTOMETRIC, _INNER = 256, 257, 262, 330
_KIND, _OLD_KIND = 254, 255
_TAGS = (_KIND, _OLD_KIND, _WIDTH, _HEIGHT, _PHOTOMETRIC, _INNER)
_SIZES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
"""Integer types of a TIFF's values, in the letters of ``struct``."""

_SENSOR = (32803, 34892)
"""PhotometricInterpretation of what a sensor saw: colour filter array, LinearRaw."""


@dataclass(frozen=True)
class Page:
    """A directory of a TIFF.

    offset: in the file, bytes.
    width, height: pixels, 0 if it does not say.
    preview: it is a reduced version of another image.
    mask: it is the transparency of another image.
    sensor: its samples are a sensor's.
    inner: directories that it refers to, which no page has as its successor.
    """

    offset: int
    width: int
    height: int
    preview: bool
    mask: bool
    sensor: bool
    inner: tuple[Page, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether it is a picture of its own."""
        return _area(self) > 0 and not (self.preview or self.mask or self.sensor)

    @property
    def size(self) -> str:
        """Width and height for messages."""
        return f"{self.width}x{self.height}"


@contextmanager
def from_start(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """A file at its beginning; it comes back to its place. Raises OSError or ValueError if it cannot."""
    place = file.tell()
    file.seek(0)
    try:
        yield file
    finally:
        file.seek(place)


# --- TIFF -------------------------------------------------------------------------------------------


class _Tiff:
    """Directories of a TIFF or BigTIFF. All methods raise struct.error where the file ends or is none."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left = _MAX_ENTRIES
        head = self._at(0, 4)
        self._order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
        if not self._order:
            raise struct.error("no TIFF")
        self.big = head[2:] in (b"+\0", b"\0+")
        self.first_at = 8 if self.big else 4
        (self.first,) = self._read(self.first_at, "Q" if self.big else "I")

    def _at(self, offset: int, size: int) -> bytes:
        if not 0 <= offset < 1 << 63:
            raise struct.error("no such offset")
        self._file.seek(offset)
        return self._file.read(size)

    def _read(self, offset: int, letters: str) -> tuple[Any, ...]:
        letters = self._order + letters
        return struct.unpack(letters, self._at(offset, struct.calcsize(letters)))

    def pointer(self, offset: int) -> bytes:
        """An offset as the header holds it."""
        return struct.pack(self._order + ("Q" if self.big else "I"), offset)

    def pages(self) -> Iterator[Page]:
        """The chain of directories, ending where one comes again or is damaged."""
        seen: set[int] = set()
        offset = self.first
        while offset and offset not in seen and len(seen) < _MAX_PAGES:
            seen.add(offset)
            page, offset = self._page(offset, inner=True)
            yield page

    def _page(self, offset: int, inner: bool) -> tuple[Page, int]:
        """A directory, and the offset of the next one, 0 if there is none."""
        entry, start = ("HHQ8s", 8) if self.big else ("HHI4s", 2)
        (count,) = self._read(offset, "Q" if self.big else "H")
        size = struct.calcsize("<" + entry)
        self._left -= count
        if self._left < 0:
            raise struct.error("too many entries")
        body = self._at(offset + start, count * size)
        values: dict[int, tuple[int, ...]] = {}
        for tag, kind, number, field in struct.iter_unpack(
            self._order + entry, body[: len(body) // size * size]
        ):
            if tag in _TAGS and kind in _SIZES:
                letters = f"{min(number, _MAX_INNER)}{_SIZES[kind]}"
                with suppress(struct.error):
                    if struct.calcsize("<" + letters) <= len(field):
                        values[tag] = struct.unpack_from(self._order + letters, field)
                    else:
                        (at,) = struct.unpack(self._order + ("Q" if self.big else "I"), field)
                        values[tag] = self._read(at, letters)
        one = {tag: value[0] for tag, value in values.items() if value}
        within: list[Page] = []
        for at in values.get(_INNER, ()) if inner else ():
            with suppress(struct.error):
                within.append(self._page(at, inner=False)[0])
        page = Page(
            offset,
            one.get(_WIDTH, 0),
            one.get(_HEIGHT, 0),
            preview=bool(one.get(_KIND, 0) & 1) or one.get(_OLD_KIND) == 2,
            mask=bool(one.get(_KIND, 0) & 4) or one.get(_PHOTOMETRIC) == 4,
            sensor=one.get(_PHOTOMETRIC) in _SENSOR,
            inner=tuple(within),
        )
        with suppress(struct.error):
            return page, self._read(offset + start + count * size, "Q" if self.big else "I")[0]
        return page, 0


def tiff_pages(file: IO[bytes]) -> tuple[Page, ...]:
    """Pages of a TIFF in the order in which Pillow counts them; those before the first damaged one."""
    pages: list[Page] = []
    with suppress(struct.error, OSError):
        for page in _Tiff(file).pages():
            if pages and not _area(page):
                break
            pages.append(page)
    return tuple(pages)


def read_pages(image: Image.Image) -> tuple[Page, ...]:
    """Pages of the TIFF of an image, kept in its ``info``; the one that is loaded if the file is closed."""
    if image.format != "TIFF" or PAGES in image.info:
        return tuple(image.info.get(PAGES, ()))
    file = getattr(image, "fp", None)
    if file is None:
        kind = 0
        with suppress(Exception):  # a damaged tag
            kind = int(getattr(image, "tag_v2", {}).get(_KIND, 0))
        return (Page(0, *image.size, preview=bool(kind & 1), mask=bool(kind & 4), sensor=False),)
    with suppress(OSError, ValueError), from_start(file):
        image.info[PAGES] = tiff_pages(file)
    return tuple(image.info.get(PAGES, ()))


def _area(page: Page) -> int:
    return page.width * page.height


def _raw(pages: tuple[Page, ...]) -> Page | None:
    """The picture of a raw file that has to be developed, if these are a raw file's pages; else None."""
    all_of_them = [*pages, *(page for outer in pages for page in outer.inner)]
    sensors = [page for page in all_of_them if page.sensor]
    if not sensors:
        return None
    raw = max(sensors, key=_area)
    # Some programs write a developed picture beside the sensor's.
    return None if any(2 * _area(page) >= _area(raw) for page in all_of_them if page.whole) else raw


def choose(data: bytes, max_pixels: int | None) -> tuple[bytes, dict[str, Any]]:
    """An image file so that Pillow opens its main picture first, and entries for ``Image.info``.

    Raises InputError for a camera's raw file, of which Pillow would open a preview, and LimitError.
    """
    if re.match(rb"II[*+]\0|MM\0[*+]", data):
        return _chosen_page(data)
    if data[:4] in (b"\0\0\1\0", b"\0\0\2\0"):
        return _chosen_icon(data, max_pixels)
    if data[:4] == b"DDS ":
        return data, {CHOICE: surface_notes(data[:148])}
    if data[:4] == b"icns":
        _check_icns(data, max_pixels)
    return data, {}


def _chosen_page(data: bytes) -> tuple[bytes, dict[str, Any]]:
    if data[8:10] == b"CR":
        raise InputError("a camera's raw file (CR2): develop it first")
    file = io.BytesIO(data)
    pages = tiff_pages(file)
    if not pages:
        return data, {}
    if raw := _raw(pages):
        previews = [page for page in pages if not (page.sensor or page.mask)]
        small = f", not its preview of {max(previews, key=_area).size}" if previews else ""
        raise InputError(f"a camera's raw file of {raw.size} pixels: develop it first{small}")
    inner = [page for outer in pages for page in outer.inner]
    page = next((page for page in [*pages, *inner] if page.whole), None) or max(pages, key=_area)
    info = {CHOICE: page_notes(pages, page)}
    if page is pages[0]:
        return data, info
    # What the header points to is the first page. That is also how Pillow gets at an inner one.
    tiff = _Tiff(file)
    pointer = tiff.pointer(page.offset)
    return data[: tiff.first_at] + pointer + data[tiff.first_at + len(pointer) :], info


def page_notes(pages: tuple[Page, ...], page: Page) -> list[str]:
    """What to say when one of these pages, or one inside of them, is coded."""
    notes = []
    if len(pages) > 1 or page not in pages:
        place = pages.index(page) + 1 if page in pages else 0
        which = {0: "an inner one", 1: "the first"}.get(place, f"page {place}")
        alone = page.whole and not any(other.whole for other in pages if other is not page)
        rest = "; the others are previews or masks" if alone else ""
        notes.append(f"only {which} of several pages is coded{rest}")
    if raw := _raw(pages):
        notes.append(f"only a preview of a camera's raw file is coded, {page.size} of {raw.size}")
    elif page.preview:
        notes.append(f"the picture of {page.size} is a reduced version of another one")
    elif page.mask:
        notes.append(f"the picture of {page.size} is the mask of another one")
    return notes


# --- MPO, PSD, DDS ----------------------------------------------------------------------------------


def has_only_previews(image: Image.Image) -> bool:
    """Whether all pictures of an MPO but the first are previews of it."""
    with suppress(KeyError, TypeError, AttributeError):
        kinds = [entry["Attribute"]["MPType"] for entry in getattr(image, "mpinfo", {})[0xB002][1:]]
        return all(kind.startswith("Large Thumbnail") for kind in kinds)
    return False


def has_merged_picture(image: Image.Image) -> bool:
    """Whether a PSD holds the picture that its layers make, which is all that Pillow reads of it."""
    versions = [data for number, _, data in getattr(image, "resources", ()) if number == 1057]
    return not any(len(data) > 4 and data[4] == 0 for data in versions)


def surface_notes(head: bytes) -> list[str]:
    """What to say of a DDS, by its first 148 bytes: of cubes, volumes and arrays Pillow reads one picture."""
    with suppress(struct.error):
        code, capabilities = struct.unpack_from("<4s24xI", head, 84)
        count = struct.unpack_from("<I", head, 140)[0] if code == b"DX10" else 1
        if capabilities & 0x200200 or count > 1:
            return ["only the first of several pictures is coded"]
    return []


# --- icons and cursors ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Icon:
    """A picture in an icon.

    bits: per pixel.
    size, offset: bytes in the file.
    samples: where those of a bitmap begin; None for a PNG.
    """

    width: int
    height: int
    bits: int
    size: int
    offset: int
    samples: int | None


def _icon(data: bytes, at: int) -> _Icon:
    """The picture of a directory entry. Raises struct.error."""
    size, offset = struct.unpack_from("<II", data, at + 8)
    if data[offset : offset + 8] == b"\x89PNG\r\n\x1a\n":
        width, height, depth, colour = struct.unpack_from(">IIBB", data, offset + 16)
        return _Icon(width, height, depth * {2: 3, 4: 2, 6: 4}.get(colour, 1), size, offset, None)
    head, width, height, _, bits = struct.unpack_from("<IIiHH", data, offset)
    # The height is that of two pictures, colours and mask.
    return _Icon(width, abs(height) // 2, bits, size, offset, offset + head)


def _chosen_icon(data: bytes, max_pixels: int | None) -> tuple[bytes, dict[str, Any]]:
    """An icon or cursor as an icon of its largest picture alone, of those its deepest.

    Pillow takes the one of the fewest colours, believes the directory's bits (cursors have none, many icons
    0), and knows no masks of cursors, nor those that count where all alpha is 0.
    """
    (count,) = struct.unpack_from("<H", data, 4)
    icons = []
    for at in range(6, 6 + 16 * min(count, _MAX_PAGES), 16):
        with suppress(struct.error):
            icons.append(_icon(data, at))
    icon = max(icons, key=lambda icon: (icon.width * icon.height, icon.bits), default=None)
    if icon is None:
        return data, {}
    check_pixels(icon.width, icon.height, max_pixels)  # Pillow loads an icon while it opens it
    bits = icon.bits
    if bits == 32 and icon.samples is not None:
        end = icon.samples + 4 * icon.width * icon.height
        if not any(data[icon.samples + 3 : end : 4]):
            bits = 24
    sides = [side if side < 256 else 0 for side in (icon.width, icon.height)]
    entry = struct.pack("<BBBBHHII", *sides, 0, 0, 1, bits, icon.size, icon.offset)
    return b"\0\0\1\0\1\0" + entry + data[22:], {"sizes": {(i.width, i.height) for i in icons}}


def _check_icns(data: bytes, max_pixels: int | None) -> None:
    """Raise LimitError for a larger picture in an icon: the size that Pillow tells of is that of its name."""
    for found in re.finditer(rb"\x89PNG\r\n\x1a\n.{4}IHDR(.{8})|\xff\x4f\xff\x51.{4}(.{8})", data, re.DOTALL):
        width, height = struct.unpack(">II", found[1] or found[2])
        check_pixels(width, height, max_pixels)


# --- alpha ------------------------------------------------------------------------------------------


def read_alpha(image: Image.Image) -> None:
    """Note what the file of an image that is not loaded says about its alpha, see :data:`ALPHA`."""
    file = getattr(image, "fp", None)
    reader = _ALPHA_READERS.get(image.format or "")
    if reader is None or file is None or ALPHA in image.info:
        return
    with suppress(struct.error, OSError, ValueError), from_start(file):
        if meaning := reader(file):
            image.info[ALPHA] = meaning


def _unpacked(file: IO[bytes], offset: int, letters: str, whence: int = io.SEEK_SET) -> tuple[Any, ...]:
    file.seek(offset, whence)
    return struct.unpack(letters, file.read(struct.calcsize(letters)))


def _tga_alpha(file: IO[bytes]) -> str | None:
    """By the attributes type in the extension area of a TGA 2.0.

    Colours of 16 bits have a bit of alpha if the descriptor says so, of which Pillow takes the opposite.
    """
    kind, map_bits, bits, flags = _unpacked(file, 2, "<B4xB8xBB")
    meaning = None
    if {1: map_bits, 2: bits}.get(kind & 7) == 16:
        meaning = INVERTED if flags & 15 else UNUSED
    extension, _, signature = _unpacked(file, -26, "<II18s", io.SEEK_END)
    if signature != b"TRUEVISION-XFILE.\0" or not extension:
        return meaning
    (kind,) = _unpacked(file, extension + 494, "B")
    return {0: UNUSED, 1: UNUSED, 2: UNUSED, 4: PREMULTIPLIED}.get(kind, meaning)


def _psd_alpha(file: IO[bytes]) -> str | None:
    """In a file with layers a further channel is a stored selection, unless their count is negative."""
    channels, mode = _unpacked(file, 12, ">H10xH")
    unread = channels > {3: 3, 4: 4, 9: 3}.get(mode, 1) and (channels, mode) != (4, 3)
    offset = 26
    for _ in range(2):  # colours, resources
        offset += 4 + _unpacked(file, offset, ">I")[0]
    section, size, layers = _unpacked(file, offset, ">IIh")
    if not (section and size and layers):
        return None
    return UNUSED if layers > 0 else UNREAD if unread else None


def _bmp_alpha(file: IO[bytes]) -> str | None:
    size, bits, alpha = _unpacked(file, 14, "<I10xH36xI")
    return UNREAD if size >= 56 and bits == 16 and alpha else None


def _dds_alpha(file: IO[bytes]) -> str | None:
    """By the alpha mode of the header that Direct3D 10 added."""
    (code,) = _unpacked(file, 84, "4s")
    if code != b"DX10":
        return None
    return {2: PREMULTIPLIED, 3: UNUSED, 4: UNUSED}.get(_unpacked(file, 144, "<I")[0] & 7)


_ALPHA_READERS = {"BMP": _bmp_alpha, "DDS": _dds_alpha, "PSD": _psd_alpha, "TGA": _tga_alpha}

_MAYBE_UNUSED = ("TGA", "BMP", "DIB", "ICO", "CUR", "DDS", "SGI", "PSD")
"""Formats in which a fourth channel often is padding: one of zeros does not mean that nothing is visible."""


def may_be_unused(image: Image.Image) -> bool:
    """Whether alpha that is 0 everywhere is better explained by a channel that nobody wrote."""
    return image.format in _MAYBE_UNUSED or (
        image.format == "TIFF" and 338 not in getattr(image, "tag_v2", {338})
    )
