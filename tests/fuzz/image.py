"""Image files of all kinds: an image within the limits comes of them, or one of our errors."""

from __future__ import annotations

import binascii
import random
import struct

import numpy as np
from PIL import Image

from ctc_codec import CtcError
from ctc_codec.image.open import open_image
from ctc_codec.image.source import SourceImage, source_image
from support.image_kinds import KINDS
from support.image_samples import disc, palette_image, picture, saved, shades

from .surface import Mutate, Surface, chance_of, require, word_of

MAX_PIXELS = 1 << 14

_SIDE = 12
_KINDS_BYTES = 6000
"""Longer samples add time, not structure."""


def _small(mode: str) -> Image.Image:
    colour, grey, alpha = picture(_SIDE, _SIDE), shades(_SIDE, _SIDE), disc()[8 : 8 + _SIDE, 18 : 18 + _SIDE]
    if mode == "RGBA":
        return Image.fromarray(np.dstack([colour, alpha]))
    if mode == "LA":
        return Image.fromarray(np.dstack([grey, alpha]))
    if mode == "P":
        return palette_image().crop((0, 0, _SIDE, _SIDE))
    return Image.fromarray(colour if mode == "RGB" else grey).convert(mode)


def _all_formats() -> list[bytes]:
    """Small files of every format and mode that this Pillow writes."""
    Image.init()
    out = []
    for kind in sorted(set(Image.SAVE) - {"CTC", "PDF"}):  # ours, and one that is written only
        for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16", "F"):
            try:
                out.append(saved(_small(mode), kind))
            except Exception:  # a mode that the format does not have, or a codec that is not there
                continue
    return out


def _seeds() -> list[bytes]:
    made = [kind.make() for kind in KINDS if kind.available]
    return [data for data in made + _all_formats() if len(data) <= _KINDS_BYTES]


def _check_source(source: SourceImage, size: tuple[int, int]) -> None:
    height, width = source.pixels.shape[:2]
    require(source.pixels.dtype == np.uint8 and source.pixels.shape[2:] == (3,), "8 bits, 3 channels")
    require(sorted((width, height)) == sorted(size), "the size of the image, or that turned")
    require(width * height <= MAX_PIXELS, "no more pixels than are allowed")
    if source.alpha is not None:
        require(source.alpha.shape == (height, width) and source.alpha.dtype == np.uint8, "alpha of its size")
    if source.grey:
        require(bool((source.pixels == source.pixels[..., :1]).all()), "grey is grey")
    require(type(source.exif) is bytes and type(source.xmp) is bytes, "metadata are bytes")
    require(all(note and note.isprintable() for note in source.notes), "a note is a line")


def check(data: bytes) -> str:
    rng = chance_of(data)
    try:
        image = open_image(data, max_pixels=MAX_PIXELS)
        source = source_image(
            image, background=rng.choice((None, None, "white", (1, 2, 3))), metadata=rng.random() < 0.5
        )
    except CtcError as error:
        return word_of(error)
    _check_source(source, image.size)
    return f"{image.format} {image.mode}"


def _mended_png(data: bytes) -> bytes:
    """A PNG's chunks with right check sums, as far as they can be told apart."""
    out, at = data[:8], 8
    while at + 12 <= len(data):
        size = min(struct.unpack(">I", data[at : at + 4])[0], len(data) - at - 12)
        body = data[at + 4 : at + 8 + size]
        out += struct.pack(">I", size) + body + struct.pack(">I", binascii.crc32(body))
        at += 12 + size
    return out + data[at:]


def _mutate(data: bytes, rng: random.Random, plain: Mutate) -> bytes:
    out = plain(data)
    if out.startswith(b"\x89PNG") and rng.random() < 0.7:
        return _mended_png(out)
    return out


SURFACE = Surface("image", _seeds, check, _mutate, executions=2500, max_bytes=_KINDS_BYTES + 500)
