"""Files that need no weights to be made: good enough for what is checked, cut and written."""

from __future__ import annotations

import dataclasses
import random

from ctc_codec.container import sections as _sections
from ctc_codec.container.blocks import frame
from ctc_codec.container.file import pack
from ctc_codec.container.header import Header

FINGERPRINT = b"\1\2\3\4"
"""Of no weights."""


def noise(count: int, seed: int = 1) -> bytes:
    """Bytes by chance, the same for the same seed."""
    return random.Random(seed).randbytes(count)


def plain(nbytes: int, seed: int = 1, size: tuple[int, int] = (64, 48)) -> bytes:
    """A file with ``nbytes`` of code word that no weights decode."""
    return pack(Header(*size, FINGERPRINT), noise(nbytes, seed))


def with_extras(extras: bytes, *, code_bytes: int = 600, **header: object) -> bytes:
    """A file of 64x48 pixels with these bytes for its sections."""
    head = Header(64, 48, FINGERPRINT, code_bytes, extras_bytes=len(extras))
    head = dataclasses.replace(head, **header)  # type: ignore[arg-type]
    return head.to_bytes() + frame(_sections.mix(noise(code_bytes, 2), extras, head.lead_bytes))


def with_header(data: bytes, **changes: object) -> bytes:
    """The same stream under a header with other fields."""
    header, start = Header.parse(data)
    return dataclasses.replace(header, **changes).to_bytes() + data[start:]  # type: ignore[arg-type]


def changed(data: bytes, position: int, flip: int) -> bytes:
    """With ``flip`` over one byte."""
    at = position % len(data)
    return data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]
