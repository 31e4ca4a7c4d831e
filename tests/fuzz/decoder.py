"""The decoder: any file, at once and in pieces, whole and cut, damage accepted or not."""

from __future__ import annotations

import functools
import random
from contextlib import suppress
from dataclasses import dataclass

from PIL import Image

from ctc_codec import (
    CodecModel,
    CtcError,
    DamageError,
    DecodedLatent,
    Decoder,
    FormatError,
    Header,
    load_model,
    thumbnail,
)
from ctc_codec.codec.verify import verify_code
from ctc_codec.container.file import File, parse
from support import coding

from .ctc_files import FINGERPRINT, Parts, lzma_raw, mutate_file, random_section, section, small_file
from .hostile import FAULTS, hostile
from .surface import DATA, Mutate, Surface, chance_of, cut_up, require, word_of

MAX_PIXELS = 1 << 12
"""Larger images are refused here, so that a run takes milliseconds."""


@functools.cache
def model() -> CodecModel:
    return load_model(threads=1)


def chance_file(rng: random.Random, size: tuple[int, int], planes: int, slices: int, grey: bool) -> bytes:
    header = Header(*size, FINGERPRINT, grey=grey, planes=planes, slices=slices)
    return coding.chance_file(model(), header, rng.randrange(1 << 32))


def hostile_file(
    rng: random.Random, fault: str | None, extras: bytes = b"", most_pixels: int = 1 << 10
) -> bytes:
    """The whole file of a code word that leads to a fault, or to none."""
    header, code = hostile(model(), rng, fault, most_pixels)
    parts = Parts.of(header.to_bytes())
    parts.mix(code, extras)
    return parts.to_bytes()


def mutate(data: bytes, rng: random.Random, plain: Mutate) -> bytes:
    """In a third of all cases a hostile file, with sections of any kind, or cut, or its code word's end
    changed; otherwise the input changed."""
    if rng.random() > 0.33:
        return mutate_file(data, rng, plain)
    extras = b""
    if rng.random() < 0.3:
        extras = b"".join(random_section(rng, 17, 9, plain) for _ in range(rng.randrange(1, 4)))
    out = hostile_file(rng, rng.choice((None,) * len(FAULTS) + FAULTS), extras)
    way = rng.random()
    if way < 0.2:
        return out[: rng.randrange(len(out) + 1)]
    return mutate_file(out, rng, plain) if way < 0.4 else out


def seeds() -> list[bytes]:
    rng = random.Random(4)
    alpha = section(2, lzma_raw(bytes(range(6)))) + section(3, b"\0" + lzma_raw(rng.randbytes(17 * 9)))
    small = [(DATA / f"{name}.ctc").read_bytes() for name in ("one-pixel", "grey", "odd", "extras")]
    made = [
        small_file(rng, 0),
        small_file(rng, 8),
        small_file(rng, 400, width=33, height=2, planes=10),
        small_file(rng, 9, width=MAX_PIXELS, height=2),
        Parts(0, 8, 8, 1, 1, b"else", 0, 0, b"").to_bytes(),
        small_file(rng, 200, alpha, width=17, height=9, flags=3),
        chance_file(rng, (20, 30), 3, 9, grey=False),
        chance_file(rng, (40, 9), 10, 30, grey=True),
        chance_file(rng, (64, 64), 1, 3, grey=False),
    ]
    made += [hostile_file(random.Random(number), fault) for number, fault in enumerate((None, *FAULTS))]
    return small + made + [small[2][:200], small[3][:900]]


@dataclass(frozen=True)
class _Outcome:
    """The end of decoding: an error's type, or all there is to know."""

    error: type[CtcError] | None
    word: str
    latent: DecodedLatent | None = None
    state: tuple[object, ...] = ()
    image: Image.Image | None = None


def _decoded(pieces: list[bytes], accept_damage: bool, looks: int = 0) -> _Outcome:
    """Decode; after the first ``looks`` pieces also look at the image in between."""
    told: list[str] = []
    decoder = Decoder(weights=model(), accept_damage=accept_damage, max_pixels=MAX_PIXELS, warn=told.append)
    try:
        for number, piece in enumerate(pieces):
            decoder.feed(piece)
            if number < looks and decoder.header is not None:
                decoder.image()
        image = decoder.image()
        latent, header = decoder.latent(), decoder.header
    except CtcError as error:
        with suppress(CtcError):  # who asks again gets an answer, or one of our errors
            decoder.image()
        return _Outcome(type(error), word_of(error))
    require(image.size == (header.width, header.height), "an image has the size that its header says")
    require(image.mode == header.mode, "an image has the mode that its header says")
    require(len(told) <= 1, "damage is told once")
    require(not (told and decoder.complete), "what is complete is not damaged")
    require(0 <= latent.planes_held <= latent.planes, "no more planes than there are")
    require(latent.slices <= header.slices, "no more slices than there are")
    require(latent.low_held or not latent.planes_held, "no trits before the low band")
    state = (latent.sha256(), latent.slices, decoder.complete, decoder.bytes_used, bool(told))
    word = "complete" if decoder.complete else "damaged" if told else "cut"
    return _Outcome(None, f"{word}, {_depth(latent)}", latent, state, image)


def _depth(latent: DecodedLatent) -> str:
    """How far decoding came, in words."""
    if not latent.low_held:
        return "nothing"
    if not latent.planes:
        return "no planes"
    if latent.planes_held == latent.planes:
        return "all planes"
    if latent.state.plane == 0:
        return "into the last plane"
    return "into a plane" if latent.slices else "low band"


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


def check(data: bytes) -> str:
    rng = chance_of(data)
    whole, pieces = _decoded([data], accept_damage=False), list(cut_up(data, rng))
    in_pieces, cuts = rng.choice(((True, True), (True, False), (False, True)))
    if in_pieces:
        _same(whole, _decoded(pieces, accept_damage=False, looks=rng.randrange(3)), "in pieces as at once")
    if whole.error is not None and not _refused(whole):
        return whole.word
    try:
        file = parse(data)
    except FormatError:
        return whole.word
    lenient = whole
    if whole.error is not None or rng.random() < 0.2:
        lenient = _decoded([data], accept_damage=True)
        if in_pieces:
            _same(lenient, _decoded(pieces, accept_damage=True), "in pieces as at once, damage accepted")
    if whole.error is None:
        _same(whole, lenient, "undamaged, with damage accepted or not")
    if cuts:
        _check_cut(data, file, whole, rng)
    return f"{whole.word} / {lenient.word}" if whole.error is not None else f"{whole.word}{_verified(data)}"


def _check_cut(data: bytes, file: File, whole: _Outcome, rng: random.Random) -> None:
    cut = rng.randrange(file.header_bytes, len(data) + 1)
    part = _decoded([data[:cut]], accept_damage=False)
    if file.damage is None:
        require(part.error is None or _refused(whole), "a cut of an undamaged file is a file")
    if part.latent is not None and whole.latent is not None:
        coding.assert_prefix(part.latent, whole.latent)
        _check_thumbnail(data[:cut], file.header)


def _verified(data: bytes) -> str:
    """Whether an encoder may have written it."""
    try:
        verify_code(data, model(), MAX_PIXELS)
    except DamageError:
        return ", by no encoder"
    return ""


def _check_thumbnail(data: bytes, header: Header) -> None:
    small = thumbnail(data, weights=model(), max_pixels=MAX_PIXELS)
    require(small.size == (-(-header.width // 8), -(-header.height // 8)), "a thumbnail is an eighth")
    require(small.mode == header.mode, "a thumbnail has the mode that its header says")


SURFACE = Surface("decoder", seeds, check, mutate, executions=200, max_bytes=3000)
