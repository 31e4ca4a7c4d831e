"""Files that need no weights to be made: good enough for what is checked, cut and written."""

from __future__ import annotations

import dataclasses
import random

from ctc_codec.container import sections as _extras
from ctc_codec.container.blocks import frame
from ctc_codec.container.header import Header


def plain(nbytes: int, seed: int = 1) -> bytes:
    """A file of 64x48 pixels with ``nbytes`` of code word that no weights decode."""
    header = Header(64, 48, b"\1\2\3\4", nbytes)
    return header.to_bytes() + frame(random.Random(seed).randbytes(nbytes))


def with_extras(extras: bytes, *, code_bytes: int = 600, whole: int | None = None, **header: object) -> bytes:
    """A file of 64x48 pixels with these extras; whole: the length that its header claims for them."""
    code = random.Random(2).randbytes(code_bytes)
    head = Header(64, 48, b"\1\2\3\4", code_bytes, extras_bytes=len(extras) if whole is None else whole)
    head = dataclasses.replace(head, **header)  # type: ignore[arg-type]
    return head.to_bytes() + frame(_extras.mix(code, extras, head.lead_bytes))


def changed(data: bytes, position: int, flip: int) -> bytes:
    """With ``flip`` over one byte."""
    return data[:position] + bytes([data[position] ^ flip]) + data[position + 1 :]
