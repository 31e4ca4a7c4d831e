"""Sections, varints, quality table, and how extras are mixed into a code word: no file, no check sums."""

from __future__ import annotations

import random

from ctc_codec import FormatError
from ctc_codec.container import sections as _sections
from ctc_codec.container.quality_table import POINTS, QualityTable
from ctc_codec.container.varint import get_varint, put_varint

from .ctc_files import Parts, lzma_raw, random_section, section, varint
from .surface import Mutate, Surface, chance_of, require, word_of

_MOST_CODE = 4096
_CODE = random.Random(12).randbytes(_MOST_CODE)
"""Code words are its beginnings: what is in them does not matter here."""


def _input(code_bytes: int, lead: int, extras: bytes) -> bytes:
    return code_bytes.to_bytes(2, "big") + lead.to_bytes(2, "big") + extras


def _seeds() -> list[bytes]:
    rng = random.Random(13)
    table = section(6, b"\x0f\xa0" + bytes(range(10, 130, 10)))
    alpha = section(2, lzma_raw(bytes(range(15)))) + section(3, b"\1" + lzma_raw(rng.randbytes(100)))
    texts = section(4, _sections.pack_text(b"MM\0*\0\0\0\x08\0\0\0\0\0\0")) + section(5, b"no zlib")
    return [
        _input(0, 0, b""),
        _input(1000, 256, table),
        _input(2000, 300, table + alpha + texts),
        _input(300, 300, section(99, rng.randbytes(700)) + section(2, b"")),
        _input(4096, 0, section(3, rng.randbytes(600)) + section(3, b"again")),
    ]


def _check_mixed(code: bytes, extras: bytes, lead: int, rng: random.Random) -> None:
    stream = _sections.mix(code, extras, lead)
    sizes = len(code), len(extras), lead
    require(_sections.unmix(stream, *sizes) == (code, extras), "what was mixed is told apart")
    cut = rng.randrange(len(stream) + 1)
    first, more = _sections.unmix(stream[:cut], *sizes)
    require(len(first) + len(more) == cut, "all bytes of a cut are used")
    require(code.startswith(first) and extras.startswith(more), "a cut holds the beginning of both")
    if code:
        position = rng.randrange(1, len(code) + 1)
        at = _sections.stream_position(position, len(extras), lead)
        require(len(_sections.unmix(stream[:at], *sizes)[0]) >= position, "a position holds its bytes")
        require(len(_sections.unmix(stream[: at - 1], *sizes)[0]) < position, "a position is the first one")


def _check_by_the_format(code: bytes, extras: bytes) -> None:
    """As FORMAT.md has it, where the code word's beginning is as long as a file's."""
    parts = Parts(4, 16, 16, 0, 0, bytes(4), 0, 0, b"")
    parts.mix(code, extras)
    lead = _sections.lead_bytes(len(code), 16, 16)
    require(lead == parts.lead, "the beginning of the code word is as long as FORMAT.md says")
    require(_sections.mix(code, extras, lead) == parts.stream, "mixed as FORMAT.md says")


def _check_table(data: bytes, rng: random.Random) -> str:
    table = QualityTable.parse(data)
    require((table is None) == (len(data) != POINTS + 1), "a table has 14 bytes")
    if table is None:
        return "no table"
    require(list(table.psnr) == sorted(table.psnr, reverse=True), "quality rises with bytes")
    again = QualityTable.parse(table.to_bytes())
    require(
        again is not None and max(abs(a - b) for a, b in zip(again.psnr, table.psnr, strict=True)) < 1.01,
        "a quality table is kept",
    )
    code_bytes = rng.randrange(1, 1 << rng.randrange(1, 40))
    position = rng.randrange(code_bytes + 1)
    here = table.at(position, code_bytes)
    require(here is None or table.psnr[-1] - 1e-9 <= here <= table.psnr[0] + 1e-9, "between first and last")
    target = rng.uniform(table.psnr[-1] - 1, table.psnr[0] + 0.1)
    found = table.code_bytes_for(target, code_bytes)
    require((found is None) == (target > table.psnr[0]), "a quality is met up to that of the whole")
    if found is not None:
        require(0 <= found <= code_bytes, "no more than the code word")
        got = table.at(found, code_bytes)
        require(got is None or got >= target - 1e-6, "so many bytes have the quality")
    return "table"


def _check_number(extras: bytes) -> None:
    """The number that the extras begin with."""
    value, at = get_varint(extras, 0)
    if value is not None:
        require(extras[:at] == put_varint(value) == varint(value), "a number has one way to be written")
        require(value < 1 << 63, "a number has 63 bits")


def _check_sections(extras: bytes, rng: random.Random) -> str:
    found = list(_sections.split_sections(extras))
    _check_number(extras)
    cut = rng.randrange(len(extras) + 1)
    part = list(_sections.split_sections(extras[:cut]))
    require(len(part) <= len(found), "a cut has no more sections")
    require(part[:-1] == found[: len(part) - 1] if part else True, "a cut's sections are those of the whole")
    for last, whole in zip(part[-1:], found[len(part) - 1 :], strict=False):
        require(last.kind == whole.kind and whole.data.startswith(last.data), "and its last one begins so")
    require(all(each.complete for each in found[:-1]), "only the last section is cut")
    joined = _sections.join_sections((each.kind, each.data) for each in found)
    if found and found[-1].complete:
        require(extras.startswith(joined), "sections have one way to be written")
    first = _sections.first_sections(extras)
    require({each.kind for each in found} == set(first), "the first of every kind")
    words = set()
    for kind, each in first.items():
        if kind == _sections.QUALITY and each.complete:
            words.add(_check_table(each.data, rng))
        elif kind in (_sections.EXIF, _sections.XMP):
            text = _sections.unpack_text(each.data)
            require(text is None or len(text) <= _sections.MAX_METADATA, "texts are of limited length")
            words.add("no text" if text is None else "text")
        else:
            words.add(f"{kind}" if kind in (2, 3) else "other")
    _sections.names_of(found)
    return ", ".join(sorted(words)) or "none"


def check(data: bytes) -> str:
    rng = chance_of(data)
    code = _CODE[: int.from_bytes(data[:2], "big") % (_MOST_CODE + 1)]
    lead = min(int.from_bytes(data[2:4], "big"), len(code))
    extras = data[4:]
    _check_mixed(code, extras, lead, rng)
    _check_by_the_format(code, extras)
    try:
        return _check_sections(extras, rng)
    except FormatError as error:
        return word_of(error)


def _mutate(data: bytes, rng: random.Random, plain: Mutate) -> bytes:
    """A section more, some mutated, another length of the code word; or bytes changed blindly."""
    way, head, extras = rng.randrange(8), data[:4].ljust(4, b"\0"), data[4:]
    if way < 2:
        return plain(data)
    if way == 2:
        size = rng.choice((0, 1, 255, 256, 257, 511, 512, 513, 4095, 4096, rng.randrange(_MOST_CODE)))
        return _input(size, rng.choice((0, size, size // 2, 256, rng.randrange(size + 1))), extras)
    if way < 5:
        return head + plain(extras)
    if way == 5:
        return head + section(6, rng.randbytes(rng.choice((14, 14, 14, 13, 15)))) + extras
    if way == 6:
        return head + extras[: rng.randrange(len(extras) + 1)]
    more = random_section(rng, 16, 16, plain)
    return head + rng.choice((extras + more, more + extras, more))


SURFACE = Surface("sections", _seeds, check, _mutate, executions=4000, max_bytes=2048)
