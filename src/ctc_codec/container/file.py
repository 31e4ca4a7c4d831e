"""The .ctc file: packed, parsed, cut, and described.

Every prefix that holds the header is a valid file, so truncation is plain slicing. This module needs the
standard library only: ``ctc truncate`` never loads numpy or the entropy coder.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from ..errors import TargetError, check_counts, check_numbers
from . import sections as _sections
from .blocks import BLOCK_BYTES, BLOCK_DATA, CRC_BYTES, Unframer, frame
from .header import MAX_HEADER_BYTES, Header, HeaderCutError, as_bytes
from .quality_table import POINTS, QualityTable, lengths
from .sections import Section

_TABLE_BYTES = POINTS + 3
"""Length of the quality table's section, which is the first one."""

COMPLETE, CUT, DAMAGED = "complete", "cut", "damaged"


def _state(damage: str | None, complete: bool) -> str:
    return DAMAGED if damage is not None else COMPLETE if complete else CUT


def pack(header: Header, code: bytes, sections: Iterable[tuple[int, bytes]] = ()) -> bytes:
    """The whole file of a code word and of sections (kind and bytes).

    header: its ``code_bytes`` and ``extras_bytes`` are set here.
    """
    extras = _sections.join_sections(sections)
    header = replace(header, code_bytes=len(code), extras_bytes=len(extras))
    return header.to_bytes() + frame(_sections.mix(code, extras, header.lead_bytes))


@dataclass(frozen=True)
class File:
    """Contents of a .ctc file, or of a prefix of one.

    header: see :class:`Header`.
    header_bytes: its length.
    nbytes: bytes present.
    used_bytes: of them, those before the first damage.
    code: the code word, as far as it is there.
    extras: the sections as one run of bytes, as far as they are there.
    damage: what is wrong and at which bytes, or None.
    complete: nothing is missing and every check sum fits.
    """

    header: Header
    header_bytes: int
    nbytes: int
    used_bytes: int
    code: bytes
    extras: bytes
    damage: str | None
    complete: bool

    @property
    def state(self) -> str:
        """COMPLETE, CUT (a valid prefix) or DAMAGED."""
        return _state(self.damage, self.complete)

    @property
    def bpp(self) -> float:
        """Bits per pixel present."""
        return 8 * self.nbytes / (self.header.width * self.header.height)

    @property
    def checked_bytes(self) -> int:
        """Length of the beginning whose check sums fit."""
        if self.damage is not None or self.complete:
            return self.used_bytes
        return self.header_bytes + (self.nbytes - self.header_bytes) // BLOCK_BYTES * BLOCK_BYTES

    def sections(self) -> Iterator[Section]:
        """The sections in order; the last one may be cut. Raises FormatError for bad lengths."""
        return _sections.split_sections(self.extras)

    def section(self, kind: int) -> Section | None:
        """The first section of a kind, which alone counts. Raises FormatError for bad lengths."""
        return self._first_sections.get(kind)

    @cached_property
    def _first_sections(self) -> dict[int, Section]:
        return _sections.first_sections(self.extras)

    @property
    def quality_table(self) -> QualityTable | None:
        """The quality table, if it is there whole."""
        section = self.section(_sections.QUALITY)
        return QualityTable.parse(section.data) if section is not None and section.complete else None


class Parser:
    """Parses a file that arrives in pieces and may end anywhere.

    header: None until it is complete.
    """

    def __init__(self) -> None:
        self.header: Header | None = None
        self._head = b""
        self._header_bytes = self._nbytes = 0
        self._stream = Unframer(0, 0)

    def feed(self, piece: bytes) -> None:
        """Take the next bytes. Raises FormatError, DamageError for what is no header."""
        self._nbytes += len(piece)
        if self.header is None:
            self._head += piece
            try:
                self.header, self._header_bytes = Header.parse(self._head[:MAX_HEADER_BYTES])
            except HeaderCutError:
                return
            piece, self._head = self._head[self._header_bytes :], b""
            self._stream = Unframer(self.header.payload_bytes, self._header_bytes)
        self._stream.feed(piece)

    @property
    def stream_bytes(self) -> int:
        """Bytes of code word and extras that are there."""
        return self._stream.length

    @property
    def used_bytes(self) -> int:
        """Bytes of the file before the first damage."""
        return self._nbytes if self.header is None else self._stream.used

    @property
    def damage(self) -> str | None:
        """The first damage and its bytes, or None."""
        return self._stream.damage

    @property
    def complete(self) -> bool:
        """Whether nothing is missing and every check sum fits."""
        return self.header is not None and self._stream.complete

    def file(self) -> File:
        """The contents now. Raises HeaderCutError while the header is not complete."""
        header = self.header or Header.parse(self._head)[0]  # which says what is missing
        code, extras = self._stream.data, b""
        if header.extras_bytes:
            code, extras = _sections.unmix(code, header.code_bytes, header.extras_bytes, header.lead_bytes)
        stream = self._stream
        return File(
            header,
            self._header_bytes,
            self._nbytes,
            stream.used,
            code,
            extras,
            stream.damage,
            stream.complete,
        )


def parse(data: bytes | bytearray | memoryview) -> File:
    """Parse a file, or any prefix of one. Raises FormatError without a sound header, TypeError."""
    parser = Parser()
    parser.feed(as_bytes(data))
    return parser.file()


# --- cutting ----------------------------------------------------------------------------------------


def bpp_bytes(header: Header, bpp: float) -> int:
    """Bytes that so many bits per pixel are, at most 2^62."""
    # The tiny addend keeps 2.05 bpp of 10560 pixels, 2706 bytes, from becoming 2705.
    return int(min(bpp * header.width * header.height / 8 + 1e-6, 1 << 62))


def budget_bytes(header: Header, *, bpp: float | None = None, nbytes: int | None = None) -> int:
    """File size that a target allows: ``bpp`` bits per pixel, or ``nbytes``, whichever is given.

    Raises TargetError when not even the header fits, ValueError unless exactly one target is given.
    """
    if (bpp is None) == (nbytes is None):
        raise ValueError("give exactly one of bpp and nbytes")
    if bpp is not None:
        if not 0 < bpp < float("inf"):
            raise TargetError(f"bpp must be positive, not {bpp}")
        nbytes = min(bpp_bytes(header, bpp), header.file_bytes)
    assert nbytes is not None
    least = len(header.to_bytes())
    if nbytes < least:
        raise TargetError(f"{nbytes} bytes are too few: the header alone takes {least}")
    return nbytes


def rate_bytes(
    header: Header, smallest: Callable[[], int], *, bpp: float | None = None, nbytes: int | None = None
) -> int:
    """File size of a rate, at most that of the whole file. One per pixel that is less than a header takes
    gives the smallest picture, so that it can be asked of icons and photographs alike.

    smallest: tells the size of that. Raises TargetError for too few ``nbytes``.
    """
    try:
        return min(budget_bytes(header, bpp=bpp, nbytes=nbytes), header.file_bytes)
    except TargetError:
        if bpp is None:
            raise
    return smallest()


def truncate(
    data: bytes | bytearray | memoryview,
    *,
    bpp: float | None = None,
    nbytes: int | None = None,
    psnr: float | None = None,
) -> bytes:
    """The first bytes of a .ctc file, by one of three targets; the same as ``head -c``.

    A file that is small enough already comes back whole.

    bpp: bits per pixel, at most.
    nbytes: bytes of the file, at most.
    psnr: dB, by the file's quality table; as few bytes as have it.

    Raises FormatError if ``data`` is no .ctc file, TargetError if the header does not fit, if the PSNR is out
    of reach or the file has no quality table; ValueError unless exactly one target is given; TypeError.
    """
    check_numbers(bpp=bpp, psnr=psnr)
    check_counts(nbytes=nbytes)
    if sum(target is not None for target in (bpp, nbytes, psnr)) != 1:
        raise ValueError("give exactly one of bpp, nbytes and psnr")
    data = as_bytes(data)
    if psnr is None:
        return data[: budget_bytes(Header.parse(data)[0], bpp=bpp, nbytes=nbytes)]
    count = psnr_bytes(data, psnr)
    if count > len(data):
        raise TargetError(f"{psnr:g} dB would take {count} bytes, and {len(data)} are left")
    return data[:count]


def table_bytes(header: Header) -> int:
    """Size of the beginning of a file that holds its quality table, if it has one."""
    at = header.lead_bytes + _TABLE_BYTES
    return min(len(header.to_bytes()) + at + CRC_BYTES * (1 + at // BLOCK_DATA), header.file_bytes)


def psnr_bytes(data: bytes, psnr: float) -> int:
    """File size that has a PSNR in dB by the quality table in ``data``, a prefix of a file.

    Raises FormatError, TargetError as :func:`truncate`.
    """
    if not 0 < psnr < float("inf"):
        raise TargetError(f"psnr must be positive, not {psnr}")
    file = parse(data)
    table = file.quality_table
    if table is None:
        raise TargetError("no quality table in the file, or in what is left of it: give a size or a rate")
    code_bytes = table.code_bytes_for(psnr, file.header.code_bytes)
    if code_bytes is None:
        raise TargetError(f"{psnr:g} dB is out of reach: the whole stream gives {table.psnr[0]:.2f} dB")
    return file.header.file_position(code_bytes)


# --- describing -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Info:
    """Facts about a file that need no weights, see :func:`info`.

    header: see :class:`Header`.
    header_bytes: its length.
    nbytes: bytes present.
    used_bytes: of them, those before the first damage.
    bpp: bits per pixel present.
    complete: nothing is missing and every check sum fits.
    damage: what is wrong and where, or None.
    quality: the quality table as (bytes of the file, PSNR in dB), ascending, for the bytes present; empty
        without one.
    psnr: dB, by the quality table, of what is present.
    sections: names of the sections that are there whole.
    """

    header: Header
    header_bytes: int
    nbytes: int
    used_bytes: int
    bpp: float
    complete: bool
    damage: str | None
    quality: tuple[tuple[int, float], ...] = ()
    psnr: float | None = None
    sections: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """COMPLETE, CUT (a valid prefix) or DAMAGED."""
        return _state(self.damage, self.complete)


def info(data: bytes | bytearray | memoryview, *, nbytes: int | None = None) -> Info:
    """Describe a .ctc file or a prefix of one, check sums verified. Raises FormatError, TypeError.

    nbytes: length of a file that lies elsewhere, of which ``data`` are the first bytes
        (:func:`table_bytes` has those that are told from). Nothing is verified of the others.
    """
    check_counts(nbytes=nbytes)
    file = parse(data)
    header, table = file.header, file.quality_table
    code_bytes, complete = len(file.code), file.complete
    if nbytes is None:
        nbytes = file.nbytes
    else:
        lengths_of_file = range(header.code_bytes + 1)
        code_bytes = max(bisect.bisect_right(lengths_of_file, nbytes, key=header.file_position) - 1, 0)
        complete = nbytes >= header.file_bytes and file.damage is None
    quality: tuple[tuple[int, float], ...] = ()
    psnr = None
    if table is not None:
        points = zip(lengths(header.code_bytes), table.psnr, strict=True)
        steps = {header.file_position(length): round(db, 2) for length, db in points if length}
        quality = tuple((count, db) for count, db in sorted(steps.items()) if count <= nbytes)
        psnr = table.at(code_bytes, header.code_bytes)
    return Info(
        header=header,
        header_bytes=file.header_bytes,
        nbytes=nbytes,
        used_bytes=file.used_bytes,
        bpp=8 * nbytes / (header.width * header.height),
        complete=complete,
        damage=file.damage,
        quality=quality,
        psnr=psnr,
        sections=_sections.names_of(file.sections()),
    )
