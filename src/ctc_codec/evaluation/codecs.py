"""What is measured: our codec, and the shape that every codec in the comparison has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from .. import __version__
from .._container import truncate
from .._errors import TargetError
from .._header import Coding
from .._image import Pixels, SourceImage

RATES = (0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 1.0, 1.2, 1.4)
"""Bits per pixel at which files are cut."""

TABLE_RATES = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.4)
"""Those that tables show."""


@dataclass(frozen=True)
class Stream:
    """Bytes that a decoder was given. asked: in the codec's unit, None for a whole embedded file;
    decode: to uint8 [height, width, 3]."""

    asked: float | None
    nbytes: int
    decode: Callable[[], Pixels]


class Codec(Protocol):
    """name: for files and options; label: for people; setting: how it is run, in a line;
    embedded: every stream of an image is a prefix of one file; unit: of what is asked, "bpp" or another."""

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def setting(self) -> str: ...
    @property
    def embedded(self) -> bool: ...
    @property
    def unit(self) -> str: ...

    def version(self) -> str:
        """The implementation, in a few words. Raises PeerError if it is not installed."""

    def streams(self, pixels: Pixels) -> Iterator[Stream]:
        """Encode uint8 [height, width, 3] once (embedded) or at every quality, and hand out the streams."""


class PeerError(Exception):
    """A codec cannot be run here; the message says why in a line."""


@dataclass(frozen=True)
class Ctc:
    """This codec: one file per image, cut at every rate and nowhere, with a file of weights.

    coding, refine: as in :func:`ctc_codec.encode` and :func:`ctc_codec.decode`; decoder: weights to decode
    with, if others.
    """

    weights: Path
    rates: Sequence[float] = RATES
    name: str = "ctc"
    label: str = "ctc"
    setting: str = "one file, cut at any byte"
    embedded: bool = True
    unit: str = "bpp"
    coding: Coding | None = None
    decoder: Path | None = None
    refine: bool = True

    def version(self) -> str:
        """Version of this package."""
        return f"ctc-codec {__version__}"

    def streams(self, pixels: Pixels) -> Iterator[Stream]:
        """Encode once; rates that the file does not reach get the whole file, as a user would."""
        from .._codec import decode, encode
        from .._model import load_model

        model = load_model(self.weights)
        decoder = load_model(self.decoder) if self.decoder else model
        data = encode(SourceImage(pixels, False), weights=model, coding=self.coding)

        def pixels_of(part: bytes) -> Pixels:
            return np.asarray(decode(part, weights=decoder, refine=self.refine))

        for rate in self.rates:
            try:
                part = truncate(data, bpp=rate)
            except TargetError:  # fewer bytes than the header of a tiny image has
                continue
            yield Stream(rate, len(part), partial(pixels_of, part))
        yield Stream(None, len(data), partial(pixels_of, data))
