"""The .ctc file: cutting it and telling what is in it.

Every prefix that holds the header is a valid file, so truncation is plain slicing. This module needs
the standard library only: `ctc truncate` never loads numpy or the entropy coder.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import TargetError
from . import sections as _extras
from .blocks import Unframer
from .header import Header
from .quality_table import QualityTable, lengths


def unframe(data: bytes, header: Header, header_bytes: int) -> Unframer:
    """Check and strip the frames of a file that may be cut anywhere after its header."""
    unframer = Unframer(header.payload_bytes, header_bytes)
    unframer.feed(data[header_bytes:])
    return unframer


def budget_bytes(header: Header, *, bpp: float | None = None, nbytes: int | None = None) -> int:
    """File size that a target allows: ``bpp`` bits per pixel, or ``nbytes``, whichever is given.

    Raises TargetError when not even the header fits, ValueError unless exactly one target is given.
    """
    if (bpp is None) == (nbytes is None):
        raise ValueError("give exactly one of bpp and nbytes")
    if bpp is not None:
        if not 0 < bpp < float("inf"):
            raise TargetError(f"bpp must be positive, not {bpp}")
        # The tiny addend keeps 2.05 bpp of 10560 pixels, 2706 bytes, from becoming 2705.
        nbytes = int(min(bpp * header.width * header.height / 8 + 1e-6, header.file_bytes))
    assert nbytes is not None
    least = len(header.to_bytes())
    if nbytes < least:
        raise TargetError(f"{nbytes} bytes are too few: the header alone takes {least}")
    return nbytes


def truncate(
    data: bytes, *, bpp: float | None = None, nbytes: int | None = None, psnr: float | None = None
) -> bytes:
    """The first bytes of a .ctc file, as many as ``bpp`` (bits per pixel) or ``nbytes`` allow, or as few as
    have a PSNR of ``psnr`` dB by the file's quality table.

    A file that is small enough already comes back whole. The result equals ``head -c``: any prefix
    is a file. Raises FormatError if ``data`` is no .ctc file, TargetError if the header does not fit, if the
    PSNR is out of reach or the file has no quality table; ValueError unless exactly one target is given.
    """
    if sum(target is not None for target in (bpp, nbytes, psnr)) != 1:
        raise ValueError("give exactly one of bpp, nbytes and psnr")
    header, start = Header.parse(data)
    if psnr is None:
        return data[: budget_bytes(header, bpp=bpp, nbytes=nbytes)]
    table = _quality_table(split_stream(unframe(data, header, start).data, header)[1])
    if table is None:
        raise TargetError("no quality table in the file, or in what is left of it: give bpp or bytes")
    code_bytes = table.code_bytes_for(psnr, header.code_bytes)
    if code_bytes is None:
        raise TargetError(f"{psnr:g} dB is out of reach: the whole stream gives {table.psnr[0]:.2f} dB")
    count = header.file_position(code_bytes)
    if count > len(data):
        raise TargetError(f"{psnr:g} dB would take {count} bytes, and {len(data)} are left")
    return data[:count]


def split_stream(stream: bytes, header: Header) -> tuple[bytes, bytes]:
    """Code word and extras, as far as a prefix of the stream holds them."""
    if not header.extras_bytes:
        return stream, b""
    return _extras.unmix(stream, header.code_bytes, header.extras_bytes, header.lead_bytes)


def _quality_table(extras: bytes) -> QualityTable | None:
    section = _extras.first_sections(extras).get(_extras.QUALITY)
    return QualityTable.parse(section.data) if section is not None and section.complete else None


@dataclass(frozen=True)
class Info:
    """What a file tells without its weights.

    header: see :class:`Header`; header_bytes: its length; nbytes: bytes present; bpp: bits per pixel
    present; complete: nothing is missing; damage: what is wrong and where, or None.
    quality: the quality table as (bytes of the file, PSNR in dB), ascending, for the bytes present; empty
    without one. psnr: by it, of what is present. sections: names of the extras that are complete.
    """

    header: Header
    header_bytes: int
    nbytes: int
    bpp: float
    complete: bool
    damage: str | None
    quality: tuple[tuple[int, float], ...] = ()
    psnr: float | None = None
    sections: tuple[str, ...] = ()


def info(data: bytes) -> Info:
    """Describe a .ctc file or a prefix of one, check sums verified. Raises FormatError."""
    header, start = Header.parse(data)
    stream = unframe(data, header, start)
    bpp = 8 * len(data) / (header.width * header.height)
    code, extras = split_stream(stream.data, header)
    held = tuple(
        _extras.NAMES[section.kind]
        for section in _extras.split_sections(extras)
        if section.complete and section.kind in _extras.NAMES
    )
    table = _quality_table(extras)
    quality: tuple[tuple[int, float], ...] = ()
    psnr = None
    if table is not None:
        points = zip(lengths(header.code_bytes), table.psnr, strict=True)
        steps = {header.file_position(length): round(db, 2) for length, db in points if length}
        quality = tuple((count, db) for count, db in sorted(steps.items()) if count <= len(data))
        psnr = table.at(len(code), header.code_bytes)
    return Info(header, start, len(data), bpp, stream.complete, stream.damage, quality, psnr, held)
