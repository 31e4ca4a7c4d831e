"""Small .ctc files that ask for much: sizes, looks, lengths, sections. Check sums and weights are right."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import numpy.typing as npt

from ctc_codec import CodecModel, Header
from ctc_codec.codec.walk import Elements, Walk, Writer, run
from ctc_codec.container import sections
from ctc_codec.container.blocks import frame
from ctc_codec.container.coder import Symbols
from ctc_codec.container.file import pack, parse
from ctc_codec.container.header import MAX_PIXELS, MAX_PLANES, MAX_SIDE, MAX_SLICES
from ctc_codec.container.varint import put_varint
from ctc_codec.image import transparency

_LONGEST = (1 << 63) - 1
_AT_LIMIT = int(MAX_PIXELS**0.5)
Maker = Callable[[], bytes]
ALL_LEVELS, FINEST = 0b111111, 0b000001


class Idler:
    """A guide that lets a decoder look as often as it can, and codes only zeros, as few as possible.

    slices: after which the file ends.
    levels: that are awake and looked at, a mask.
    last: slice of each plane that takes all that is left of it.
    """

    def __init__(self, shape: tuple[int, ...], slices: int, levels: int, last: int = 15) -> None:
        self._low = np.zeros(shape, np.int32)
        self._left, self._levels, self._last = slices, levels, last

    @property
    def ended(self) -> bool:
        """See :class:`ctc_codec.codec.walk.Guide`, here and below."""
        return self._left == 0

    def low(self, plane: int) -> npt.NDArray[np.int32]:
        return self._low

    def begin_plane(self, plane: int) -> int:
        return self._levels

    def skips(self, walk: Walk, plane: int, awake: int) -> int:
        return 0

    def looks(self, plane: int, number: int) -> int:
        return self._levels

    def threshold(self, walk: Walk, number: int) -> int:
        return 1 if number == self._last else int(walk.classes.max())

    def trits(self, walk: Walk, elements: Elements) -> Symbols:
        return np.ones(elements.shape, np.int32)

    def after_slice(self, walk: Walk) -> None:
        self._left -= 1


def idle_file(
    model: CodecModel, width: int, height: int, slices: int, *, levels: int = FINEST, last: int = 15
) -> bytes:
    """A grey file of an :class:`Idler`; a walk through it takes as long here as in a decoder."""
    header = Header(width, height, model.fingerprint, grey=True, planes=MAX_PLANES)
    walk = Walk(model, header, writer := Writer())
    walk = Walk(model, header, writer, Idler(walk.state.low.shape, slices, levels, last))
    run(walk)
    return pack(dataclasses.replace(header, slices=walk.slices), writer.encoder.finish())


def with_sections(model: CodecModel, width: int, height: int, extras: bytes, *, alpha: bool = False) -> bytes:
    """A whole file whose code word is that of a blank grey picture, with these bytes for its sections."""
    blank = idle_file(model, width, height, 1, last=0)
    header = dataclasses.replace(parse(blank).header, extras_bytes=len(extras), alpha=alpha)
    return header.to_bytes() + frame(sections.mix(parse(blank).code, extras, header.lead_bytes))


def zlib_zeros(count: int) -> bytes:
    """So many zeros, deflated."""
    packer = zlib.compressobj(9)
    return b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(count >> 20)), packer.flush()])


def _text(kind: int, packed: bytes) -> bytes:
    return sections.join_sections([(kind, packed)])


def _zeros(kind: int, count: int) -> bytes:
    return _text(kind, zlib_zeros(count))


def _alpha(count: int, kind: int, *, left: bool = False) -> bytes:
    samples = np.zeros(count, np.uint8)
    lead = b"" if kind == sections.ALPHA_ROUGH else bytes([left])
    return sections.join_sections([(kind, lead + transparency._packed(samples))])


def _table(*numbers: int) -> bytes:
    return sections.join_sections([(sections.QUALITY, bytes(numbers))])


def _laughs(depth: int) -> bytes:
    entities = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, depth))
    return f'<!DOCTYPE x [<!ENTITY a0 "ha">{entities}]><x>&a{depth - 1};</x>'.encode()


def _looping_exif() -> bytes:
    """EXIF whose directories point at themselves, and whose values are said to be long."""
    entry = b"\x87\x69\0\4\0\0\0\1\0\0\0\x08" + b"\x01\x0f\0\2\xff\xff\xff\xff\0\0\0\x08"
    return b"MM\0*\0\0\0\x08" + b"\0\2" + entry + b"\0\0\0\x08"


def files(model: CodecModel, side: int, bomb: int) -> Iterator[tuple[str, Maker]]:
    """Names, and what makes the files.

    side: of the pictures that most of them declare.
    bomb: bytes that sections unpack to.
    """

    def header(width: int, height: int, code_bytes: int = 1000, extras_bytes: int = 0) -> Header:
        head = Header(width, height, model.fingerprint, code_bytes, extras_bytes=extras_bytes)
        return dataclasses.replace(head, planes=MAX_PLANES, slices=MAX_SLICES)

    def small(extras: Maker, *, alpha: bool = False) -> Maker:
        return lambda: with_sections(model, 16, 16, extras(), alpha=alpha)

    yield "header alone", lambda: header(side, side).to_bytes()
    yield "header alone, beyond the limit", lambda: header(_AT_LIMIT + 1, _AT_LIMIT + 1).to_bytes()
    yield "header alone, the largest sides", lambda: header(MAX_SIDE, MAX_SIDE).to_bytes()
    yield "header alone, one row", lambda: header(MAX_SIDE, 1).to_bytes()
    yield "lengths of 2^63 - 1", lambda: header(64, 64, code_bytes=_LONGEST, extras_bytes=_LONGEST).to_bytes()
    yield "complete, of no bytes", lambda: header(side, side, code_bytes=0).to_bytes()
    for name, code in (("zeros", bytes(64)), ("ones", b"\xff" * 64), ("a ramp", bytes(range(64)))):
        yield f"complete, {name}", partial(pack, header(side, side), code)
    yield "16 looks", lambda: idle_file(model, side, side, 16)
    yield "16 looks, cut", lambda: idle_file(model, side, side, 16)[:-50]
    yield "160 looks", lambda: idle_file(model, side // 4, side // 4, 160)
    yield "all trits of a plane", lambda: idle_file(model, side, side, 1, levels=ALL_LEVELS, last=0)
    yield (
        "alpha, blank",
        lambda: with_sections(model, side, side, _alpha(side**2, sections.ALPHA), alpha=True),
    )
    yield (
        "alpha, blank, from the left",
        lambda: with_sections(model, side, side, _alpha(side**2, sections.ALPHA, left=True), alpha=True),
    )
    yield "alpha that is too long", small(lambda: _alpha(bomb >> 4, sections.ALPHA), alpha=True)
    yield "rough alpha that is too long", small(lambda: _alpha(bomb >> 4, sections.ALPHA_ROUGH), alpha=True)
    for kind in (sections.EXIF, sections.XMP):
        name = sections.NAMES[kind]
        yield f"{name} that is too long", small(partial(_zeros, kind, bomb))
        yield f"{name} of 15 MiB", small(partial(_zeros, kind, 15 << 20))
    yield "EXIF that loops", small(lambda: _text(sections.EXIF, sections.pack_text(_looping_exif())))
    yield "XMP of entities", small(lambda: _text(sections.XMP, sections.pack_text(_laughs(12))))
    for kind in (sections.EXIF, sections.ALPHA, 99):
        yield (
            f"100,000 empty sections of kind {kind}",
            small(partial(sections.join_sections, [(kind, b"")] * 100_000)),
        )
    yield (
        "a section of 2^63 - 1 bytes",
        small(lambda: put_varint(sections.EXIF) + put_varint(_LONGEST) + b"x"),
    )
    yield "a quality table of ones", small(lambda: _table(*[255] * 14))
    yield "a quality table of zeros", small(lambda: _table(*[0] * 14))
    yield "two files in one", lambda: 2 * idle_file(model, 64, 64, 16)


def large_files(model: CodecModel) -> Iterator[tuple[str, Maker]]:
    """The same at the limit of pixels, which take minutes."""

    def header(width: int, height: int) -> bytes:
        return Header(width, height, model.fingerprint, 1000, planes=MAX_PLANES, slices=MAX_SLICES).to_bytes()

    yield "header alone, at the limit", lambda: header(_AT_LIMIT, _AT_LIMIT)
    yield "header alone, ten rows", lambda: header(MAX_SIDE, 10)
    yield "16 looks, 16 Mpixel", lambda: idle_file(model, 4096, 4096, 16)
