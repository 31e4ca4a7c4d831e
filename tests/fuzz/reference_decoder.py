"""The decoder beside that of ``tests/reference``, which follows FORMAT.md in plain Python integers: both
refuse a file, or both know the same of it. Tiny pictures, since that one is slow.
"""

from __future__ import annotations

import functools
import random

from ctc_codec import DamageError, Decoder, FormatError, WeightsError
from ctc_codec.codec.model import default_weights
from ctc_codec.container.file import File, parse
from reference import container, latent
from reference.state import State
from reference.weights import Weights

from .ctc_files import mutate_file, small_file
from .decoder import hostile_file, model
from .hostile import FAULTS
from .surface import DATA, Mutate, Surface, require, word_of

_MOST_PIXELS = 80

_weights = functools.cache(lambda: Weights(default_weights()))


def _seeds() -> list[bytes]:
    rng = random.Random(15)
    golden = [(DATA / f"{name}.ctc").read_bytes() for name in ("one-pixel",)]
    return [
        *golden,
        small_file(rng, 8, width=3, height=2),
        *(hostile_file(random.Random(n), fault, most_pixels=24) for n, fault in enumerate((None, *FAULTS))),
    ]


def _by_reference(data: bytes) -> tuple[container.File, State | None, str]:
    """The file, its latent, and why there is none. Raises ValueError or IndexError for what is no file."""
    file = container.read(data)
    try:
        return file, latent.decode(file, _weights()), ""
    except ValueError as error:
        return file, None, str(error)


def _decoded(data: bytes, accept_damage: bool) -> Decoder:
    decoder = Decoder(weights=model(), accept_damage=accept_damage)
    decoder.feed(data)
    decoder.finish()
    return decoder


def _check_refused(data: bytes, file: File, why: str) -> str:
    """What the reference refuses the decoder does too."""
    try:
        _decoded(data, accept_damage=False)
    except (DamageError, WeightsError) as error:
        return word_of(error)
    # Of a cut file nothing is said of a code word that is there whole and goes no further: its last block has
    # no check sum.
    require(not file.complete and "leaves a symbol open" in why, f"refused by the reference: {why}")
    return "an open code word in a cut file"


def check(data: bytes) -> str:
    try:
        file = parse(data)
    except FormatError as error:
        return word_of(error)
    header = file.header
    if header.width * header.height > _MOST_PIXELS:
        return "too large here"
    other, state, why = _by_reference(data)
    require((other.code, other.extras) == (file.code, file.extras), "the same bytes in the same places")
    require(other.damaged == (file.damage is not None), "the same damage to check sums")
    if state is None:
        return _check_refused(data, file, why)
    decoder = _decoded(data, accept_damage=True)
    found = decoder.latent()
    require(found.sha256() == state.sha256(), "the same latent")
    require((found.slices, found.low_held) == (state.slices, state.low_held), "the same slices")
    require(decoder.complete == (file.complete and not state.ends), "complete is complete")
    how = "complete" if decoder.complete else "damaged" if file.damage is not None else "cut"
    return f"the same, {how}, {'low band' if state.low_held else 'nothing'}, {min(state.slices, 3)} slices"


def _mutate(data: bytes, rng: random.Random, plain: Mutate) -> bytes:
    """Hostile files of tiny pictures, half of them changed, cut, or with another end of their code word."""
    if rng.random() < 0.5:
        return mutate_file(data, rng, plain)
    out = hostile_file(rng, rng.choice((None, None, None, *FAULTS)), most_pixels=_MOST_PIXELS)
    return mutate_file(out, rng, plain) if rng.random() < 0.5 else out


SURFACE = Surface("reference_decoder", _seeds, check, _mutate, executions=20, max_bytes=1000)
