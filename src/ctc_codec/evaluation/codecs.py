"""Our codec as it is measured, and the shape of every codec in the comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from .. import __version__
from ..codec.options import DEFAULT_EFFORT, DEFAULT_QUALITY
from ..container.file import truncate
from ..errors import TargetError
from ..image.source import SourceImage
from ..image.transparency import Pixels

RATES = (0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 1.0, 1.2, 1.4, 2.0, 3.0)
"""Bits per pixel at which files are cut."""

TABLE_RATES = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.4, 2.0)
"""Those that tables show."""


@dataclass(frozen=True)
class Stream:
    """Bytes for a decoder.

    asked: in the codec's unit; None for our whole file of default quality, which is no point of a curve.
    nbytes: how many there are.
    decode: gives uint8 [height, width, 3]. Raises PeerError.
    """

    asked: float | None
    nbytes: int
    decode: Callable[[], Pixels]


class Codec(Protocol):
    """A codec in the comparison.

    name: for files and options.
    label: for people.
    setting: of its encoder, in a line.
    embedded: whether every stream of an image is a prefix of one file.
    unit: of ``Stream.asked``, "bpp" or another.
    """

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


ALL_PLANES = 100
"""The quality of a file that holds every plane."""


@dataclass(frozen=True)
class Ctc:
    """This codec with a file of weights: one file of an image cut at every rate, and the default file, whole.

    weights: file.
    rates: bits per pixel of the cuts.
    quality: of the file that is cut. One of all planes goes on to about 50 dB, so that every image has every
        rate; the default one is the same plane by plane, but for trits near its end.
    effort: as in :func:`ctc_codec.encode`.
    context: as in :func:`ctc_codec.encode`.
    refine: as in :func:`ctc_codec.decode`.
    synthesis: as in :func:`ctc_codec.decode`.
    threads: of the networks; None for one per core.
    """

    weights: Path
    rates: Sequence[float] = RATES
    name: str = "ctc"
    label: str = "ctc"
    embedded: bool = True
    unit: str = "bpp"
    quality: float = ALL_PLANES
    effort: int = DEFAULT_EFFORT
    context: bool = True
    refine: bool = True
    synthesis: bool = True
    threads: int | None = None

    @property
    def setting(self) -> str:
        return (
            f"effort {self.effort}; one file of quality {self.quality:g}, cut at every rate; "
            f"whole file: quality {DEFAULT_QUALITY}"
        )

    def version(self) -> str:
        return f"ctc-codec {__version__}"

    def streams(self, pixels: Pixels) -> Iterator[Stream]:
        """Encode, cut, and encode the default file; rates that the file does not reach get all of it."""
        from ..codec.decoder import decode
        from ..codec.encoder import encode
        from ..codec.model import load_model

        model = load_model(self.weights, self.threads)
        source = SourceImage(pixels, False)

        def encoded(quality: float) -> bytes:
            return encode(source, quality=quality, effort=self.effort, context=self.context, weights=model)

        def pixels_of(part: bytes) -> Pixels:
            return np.asarray(decode(part, weights=model, refine=self.refine, synthesis=self.synthesis))

        data = encoded(self.quality)
        for rate in self.rates:
            try:
                part = truncate(data, bpp=rate)
            except TargetError:  # fewer bytes than the header of a tiny image has
                continue
            yield Stream(rate, len(part), partial(pixels_of, part))
        whole = data if self.quality == DEFAULT_QUALITY else encoded(DEFAULT_QUALITY)
        yield Stream(None, len(whole), partial(pixels_of, whole))


@dataclass(frozen=True)
class CtcFiles(Ctc):
    """This codec with a file for each rate, made for its size."""

    rates: Sequence[float] = TABLE_RATES
    name: str = "ctc-files"
    label: str = "ctc, a file per rate"
    embedded: bool = False

    @property
    def setting(self) -> str:
        return f"effort {self.effort}; --bpp"

    def streams(self, pixels: Pixels) -> Iterator[Stream]:
        """Encode at every rate."""
        from ..codec.decoder import decode
        from ..codec.encoder import encode
        from ..codec.model import load_model

        model = load_model(self.weights, self.threads)

        def pixels_of(data: bytes) -> Pixels:
            return np.asarray(decode(data, weights=model))

        for rate in self.rates:
            data = encode(SourceImage(pixels, False), bpp=rate, effort=self.effort, weights=model)
            yield Stream(rate, len(data), partial(pixels_of, data))
