"""The decoder, with tiny weights: any file, at once and in pieces, whole and cut, damage accepted or not."""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ctc_codec import CodecModel, CtcError, Decoder, FormatError, decode_latent, thumbnail
from ctc_codec._framing import Unframer
from ctc_codec._header import Header
from ctc_codec._stream import DecodedLatent

from .ctc_files import lzma_raw, mutate_file, section, small_file
from .surface import DATA, Surface, chance_of, cut_up, require, word_of

MAX_PIXELS = 1 << 13
"""Larger images are refused here, so that a run takes milliseconds."""


@functools.cache
def tiny() -> CodecModel:
    return CodecModel.load(DATA / "tiny.safetensors")


@functools.cache
def _parents() -> np.ndarray:
    """Of every node; of a root itself."""
    children = tiny().tables.children
    out = np.arange(len(children))
    inner = np.flatnonzero(children)
    for digit in range(3):
        out[children[inner] + digit] = inner
    return out


def seeds() -> list[bytes]:
    rng = random.Random(3)
    alpha = section(2, lzma_raw(bytes(range(6)))) + section(3, b"\0" + lzma_raw(rng.randbytes(17 * 9)))
    small = [(DATA / f"{name}.ctc").read_bytes() for name in ("one-pixel", "grey", "odd", "raster", "extras")]
    made = [
        small_file(rng, 0),
        small_file(rng, 8),
        small_file(rng, 400, width=33, height=2, coding=3),
        small_file(rng, 200, alpha, width=17, height=9, flags=3, coding=0x21),
    ]
    return small + made + [small[2][:200], small[4][:900]]


@dataclass(frozen=True)
class _Outcome:
    """What decoding came to: an error's type, or all there is to know."""

    error: type[CtcError] | None
    word: str
    latent: DecodedLatent | None = None
    state: tuple[object, ...] = ()
    image: Image.Image | None = None


def _decoded(pieces: list[bytes], accept_damage: bool, looks: int = 0) -> _Outcome:
    """Decode; after the first ``looks`` pieces also look at the image in between."""
    told: list[str] = []
    decoder = Decoder(
        weights=tiny(), accept_damage=accept_damage, max_pixels=MAX_PIXELS, warn=told.append, device="cpu"
    )
    try:
        for number, piece in enumerate(pieces):
            decoder.feed(piece)
            if number < looks and decoder.header is not None:
                decoder.image()
        image = decoder.image()
        latent, header = decoder.latent(), decoder.checked_header()
    except CtcError as error:
        return _Outcome(type(error), word_of(error))
    require(image.size == (header.width, header.height), "an image has the size that its header says")
    require(image.mode == header.mode, "an image has the mode that its header says")
    require(len(told) <= 1, "damage is told once")
    require(not (told and decoder.complete), "what is complete is not damaged")
    require(0 <= latent.planes_held <= latent.planes + 1e-9, "no more planes than there are")
    require(latent.z_complete or not latent.trits, "no trits before the hyper-latent")
    state = (latent.sha256(), latent.trits, decoder.complete, decoder.bytes_used, bool(told))
    word = "complete" if decoder.complete else "damaged" if told else "cut"
    return _Outcome(None, f"{word} z" if latent.z_complete else word, latent, state, image)


def _refused(outcome: _Outcome) -> bool:
    """As no good file."""
    return outcome.error is not None and issubclass(outcome.error, FormatError)


def _same(a: _Outcome, b: _Outcome, what: str) -> None:
    if _refused(a) and _refused(b):
        return  # which of two faults comes first depends on the pieces
    require(a.error is b.error, f"{what}: {a.word!r}, and {b.word!r}")
    require(a.state == b.state, f"{what}: the same latent")
    if a.image is not None and b.image is not None:
        require(a.image.tobytes() == b.image.tobytes(), f"{what}: the same pixels")


def _check_prefix(short: DecodedLatent, long: DecodedLatent) -> None:
    """Every element of the shorter one is where the longer one is, or on the way there."""
    require(short.trits <= long.trits, "more bytes, no fewer trits")
    require(long.z_complete or not short.z_complete, "more bytes lose no hyper-latent")
    if not short.z_complete:
        return
    at, goal = long.node.reshape(-1).copy(), short.node.reshape(-1)
    parents = _parents()
    for _ in range(12):
        away = at != goal
        at[away] = parents[at[away]]
    require(np.array_equal(at, goal), "a cut's state is one that the whole went through")


def check(data: bytes) -> str:
    rng = chance_of(data)
    whole = _decoded([data], accept_damage=False)
    pieces = list(cut_up(data, rng))
    _same(whole, _decoded(pieces, accept_damage=False, looks=rng.randrange(3)), "in pieces as at once")
    if whole.error is not None and not _refused(whole):
        return whole.word
    try:
        header, start = Header.parse(data)
    except FormatError:
        return whole.word
    lenient = _decoded([data], accept_damage=True)
    _same(lenient, _decoded(pieces, accept_damage=True), "in pieces as at once, damage accepted")
    if whole.error is None:
        _same(whole, lenient, "undamaged, with damage accepted or not")
    unframer = Unframer(header.payload_bytes, start)
    unframer.feed(data[start:])
    cut = rng.randrange(start, len(data) + 1)
    part = _decoded([data[:cut]], accept_damage=False)
    if unframer.damage is None:
        require(part.error is None or _refused(whole), "a cut of an undamaged file is a file")
    if part.latent is not None and whole.latent is not None:
        _check_prefix(part.latent, whole.latent)
        _check_thumbnail(data[:cut], header)
    return f"{whole.word} / {lenient.word}" if whole.error is not None else whole.word


def _check_thumbnail(data: bytes, header: Header) -> None:
    small = thumbnail(data, weights=tiny(), max_pixels=MAX_PIXELS)
    require(small.size == (-(-header.width // 8), -(-header.height // 8)), "a thumbnail is an eighth")
    require(small.mode == header.mode, "a thumbnail has the mode that its header says")
    require(decode_latent(data, weights=tiny(), max_pixels=MAX_PIXELS)[0] == header, "the latent alone")


SURFACE = Surface("decoder", seeds, check, mutate_file, executions=150, max_bytes=3000)
