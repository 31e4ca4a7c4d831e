"""The Pillow plugin: what Pillow's users may expect of any file that begins as ours do."""

from __future__ import annotations

import io
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, ImageFile, UnidentifiedImageError

import ctc_codec.pillow  # noqa: F401 (registers itself)
from ctc_codec import CtcError, Decoder
from ctc_codec.container.header import Header

from .decoder import MAX_PIXELS, model, mutate, seeds
from .surface import Mutate, Surface, chance_of, cut_up, require


@contextmanager
def _pillow(accept_damage: bool) -> Iterator[None]:
    """Pillow's switches, for one input."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = accept_damage, MAX_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = before


def _opened(data: bytes) -> tuple[str, Image.Image | None]:
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format != "CTC":
                return "another format", None
            promised = image.size, image.mode
            image.getexif()
            image.load()
            require((image.size, image.mode) == promised, "pixels are of the size and mode that were told")
            return "loaded", image.copy()
    except UnidentifiedImageError:
        return "not identified", None
    except Image.DecompressionBombError:
        return "too large", None
    except OSError as error:
        require(isinstance(error.__cause__, CtcError), "an OSError has its reason")
        return f"OSError, {type(error.__cause__).__name__}", None


def _small(data: bytes) -> Image.Image | None:
    """The picture that a draft loads: from fewer bytes, so there may be one though the whole is damaged."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            answer = image.draft("L", (1, 1))
            require(answer is not None and answer[0] == image.mode, "a draft answers before it is loaded")
            promised = image.size
            image.load()
            require(image.size == promised, "a draft is of the size that was told")
            return image
    except (OSError, Image.DecompressionBombError) as error:
        require(not isinstance(error, CtcError), "an error is one of Pillow's")
        return None


def _parsed(data: bytes, rng: random.Random) -> Image.Image | None:
    """The same by Pillow's parser for data that arrive."""
    parser = ImageFile.Parser()
    try:
        for piece in cut_up(data, rng, 4):
            parser.feed(piece)
        return parser.close()
    except (OSError, Image.DecompressionBombError):
        return None


def _verified(data: bytes) -> bool | None:
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format != "CTC":
                return None
            image.verify()
        return True
    except UnidentifiedImageError:
        return None
    except (OSError, Image.DecompressionBombError):
        return False


def check(data: bytes) -> str:
    rng = chance_of(data)
    with _pillow(accept_damage=False):
        word, image = _opened(data)
        parsed = _parsed(data, rng) if word != "another format" else None
        small = _small(data) if word != "another format" else None
        verified = _verified(data)
    if image is not None:
        header = Header.parse(data)[0]
        ours = data[: header.file_bytes]
        require(verified is (len(data) <= len(ours)), "what loads is in order, but for what follows the end")
        require(small is not None, "what loads has a small picture")
        require(parsed is not None and parsed.tobytes() == image.tobytes(), "in pieces as at once")
        decoder = Decoder(weights=model(), max_pixels=None)
        decoder.feed(ours)
        require(decoder.image().tobytes() == image.tobytes(), "Pillow's pixels are the decoder's")
        require(image.size == (header.width, header.height), "the size that the header says")
        return word
    if word.startswith("OSError"):
        with _pillow(accept_damage=True):
            word += " / " + _opened(data)[0]
    return word


def _mutate(data: bytes, rng: random.Random, plain: Mutate) -> bytes:
    out = mutate(data, rng, plain)
    # Others than ours are Pillow's matter.
    return out if out.startswith(b"\xc7CTC") else b"\xc7CTC" + out[4:]


SURFACE = Surface("plugin", seeds, check, _mutate, executions=100, max_bytes=3000)
