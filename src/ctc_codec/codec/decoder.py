"""Decoding: a file, or as much of it as there is, to pixels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Unpack

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..container import sections
from ..container.coder import RangeDecoder
from ..container.file import File, Parser, truncate
from ..container.header import Header, as_bytes, check_pixels
from ..errors import DamageError, FormatError, WeightsError
from ..image import transparency
from ..image.exif import PREFIX
from ..image.save import image_from_pixels
from ..planes.state import State
from .model import CodecModel, model_of
from .options import THUMBNAIL_SCALE, DecodeKeywords, DecodeOptions, thumbnail_bytes, with_changes
from .picture import pixels, small_pixels
from .walk import Reader, Walk

Pixels = npt.NDArray[np.uint8]

_STEP_BYTES = 4096
_STEP_SHARE = 16
"""Data is decoded as soon as it has grown by 4 KiB, or by a sixteenth if that is more."""


@dataclass(frozen=True)
class DecodedLatent:
    """All that the bytes at hand tell about the latent.

    state: every element's value, whether it is known at the state's plane, and its density.
    planes: of trits, in the whole file.
    planes_held: how many of them are complete, and the share of elements that are known at the next one.
    low_held: the low band is there (without it, the picture is grey).
    slices: decoded so far.
    """

    state: State
    planes: int
    planes_held: float
    low_held: bool
    slices: int

    def sha256(self) -> str:
        """Hash of what is known: the same on every machine for the same bytes and weights."""
        state = self.state
        digest = hashlib.sha256(bytes([state.plane, state.low_plane]))
        for array in (state.value, state.row, state.low):
            digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        digest.update(np.packbits(state.known).tobytes() + np.packbits(state.low_known).tobytes())
        return digest.hexdigest()


class Decoder:
    """Decodes a .ctc file that arrives in pieces; there is an image at any time.

        decoder = ctc_codec.Decoder()
        for chunk in response.iter_bytes():
            decoder.feed(chunk)
            show(decoder.image())        # costs a synthesis, no second reading of trits

    Not safe to share by threads.
    """

    def __init__(
        self,
        options: DecodeOptions | None = None,
        *,
        weights: str | os.PathLike[str] | CodecModel | None = None,
        **changes: Unpack[DecodeKeywords],
    ) -> None:
        """Arguments as of :func:`ctc_codec.decode`."""
        self._options = with_changes("Decoder", DecodeOptions, options, changes)
        self._weights = weights
        self._parser = Parser()
        self._model: CodecModel | None = None
        self._reader: RangeDecoder | None = None
        self._walk: Walk | None = None
        self._steps: Iterator[None] = iter(())
        self._file: File | None = None
        """The file as it was decoded last."""
        self._told = False
        self._unsound = False
        """Check sums fit, and yet it is not what an encoder writes."""
        self._finished = False

    @property
    def header(self) -> Header | None:
        """The file's header, None until its bytes are here."""
        return self._parser.header if self._walk is not None else None

    @property
    def bytes_used(self) -> int:
        """Bytes of the file that :meth:`image` makes use of: all that came, or those before the damage."""
        return self._parser.used_bytes

    @property
    def complete(self) -> bool:
        """The whole file has come, undamaged."""
        return self._walk is not None and self._parser.complete and not self._unsound

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the file, any number of them.

        Raises FormatError if this is no .ctc file, DamageError at damaged bytes unless that is accepted,
        WeightsError for other weights, LimitError, ValueError after :meth:`finish`.
        """
        if self._finished:
            raise ValueError("this decoder is finished")
        parser = self._parser
        parser.feed(as_bytes(chunk))
        if parser.header is None:
            return
        if self._walk is None:
            self._begin(parser.header)
        decoded = self._decoded_bytes
        if parser.damage is not None and not self._told:
            if parser.stream_bytes < decoded:
                self._restart()  # bytes of the damaged block have been read, before its check sum came
                decoded = 0
            self._tell(DamageError(parser.damage))
        grown = parser.stream_bytes - decoded
        if parser.complete or grown >= max(_STEP_BYTES, decoded // _STEP_SHARE):
            self._advance()

    @property
    def _decoded_bytes(self) -> int:
        """Bytes of code word and extras that have been decoded."""
        return 0 if self._file is None else len(self._file.code) + len(self._file.extras)

    def _tell(self, damage: DamageError) -> None:
        """Raise the damage unless it is accepted; say it once then."""
        if not self._options.accept_damage:
            self._told = True
            try:
                raise damage
            finally:
                del damage  # its traceback has this frame: together they would keep the decoder for a while
        if self._options.warn is not None and not self._told:
            self._options.warn(str(damage))
        self._told = True

    def _begin(self, header: Header) -> None:
        check_pixels(header.width, header.height, self._options.max_pixels)
        self._model = model_of(self._weights)
        if header.fingerprint != self._model.fingerprint:
            raise WeightsError(
                f"made with other weights (file {header.fingerprint.hex()}, "
                f"here {self._model.fingerprint.hex()})"
            )
        self._restart()

    def _restart(self) -> None:
        header = self._checked_header()
        assert self._model is not None
        self._reader = RangeDecoder()
        self._walk = Walk(self._model, header, Reader(self._reader))
        self._steps = iter(self._walk)
        self._file = None

    def _checked_header(self) -> Header:
        """The header. Raises FormatError while it is not complete."""
        return self._parser.file().header if self._parser.header is None else self._parser.header

    def _read(self, code: bytes, complete: bool) -> None:
        """Go on with the code word, as far as it is known. Raises DamageError."""
        assert self._reader is not None
        self._reader.extend(code, complete)
        next(self._steps, None)

    def _advance(self) -> None:
        """Decode all that has come."""
        if self._walk is None:
            self._begin(self._parser.file().header)  # or raises what is missing
        before, complete = self._file, self.complete
        grown = self._parser.stream_bytes > self._decoded_bytes
        if before is not None and not grown and (before.complete or not complete):
            return
        file = self._parser.file()
        try:
            self._read(file.code, complete)
        except DamageError as error:
            if not self._options.accept_damage:
                self._steps = _raising(DamageError(*error.args))  # without a traceback: see _tell
                raise
            # Check sums fit and the code word is none: it is read as one that was cut.
            self._unsound = True
            self._tell(error)
            self._restart()
            try:
                self._read(file.code, False)
            except DamageError:
                self._steps = iter(())
        self._file = file

    def finish(self) -> None:
        """No more bytes will come."""
        self._current().end()
        self._finished = True

    def latent(self) -> DecodedLatent:
        """The latent as far as it is known now; later bytes do not change the answer.

        Raises FormatError while the header is not complete, DamageError for a whole stream that no encoder
        writes.
        """
        walk = self._current()
        state = walk.state if self._finished else walk.state.copy()
        held = 0.0
        if walk.slices or state.plane < walk.planes:
            held = walk.planes - state.plane - 1 + float(state.known.mean())
        return DecodedLatent(state, walk.planes, held, walk.low_held, walk.slices)

    def _current(self) -> Walk:
        self._advance()
        assert self._walk is not None
        return self._walk

    def image(self) -> Image.Image:
        """The image now, of mode RGB, L, RGBA or LA; kept metadata is in its info. Raises as :meth:`latent`.

        Of a file with transparency that ends before it, the image is opaque.
        """
        walk, header = self._current(), self._checked_header()
        assert self._model is not None
        options, size = self._options, (header.height, header.width)
        how = {"refine": options.refine, "synthesis": options.synthesis}
        rows = walk.rows_now() if options.refine else None
        image = image_from_pixels(
            pixels(walk.state, self._model, size, rows=rows, **how), self._alpha(header)
        )
        for kind, name in ((sections.EXIF, "exif"), (sections.XMP, "xmp")):
            section = self._section(kind)
            text = sections.unpack_text(section.data) if section is not None and section.complete else None
            if text is not None:
                image.info[name] = PREFIX + text if kind == sections.EXIF else text
        return image

    def thumbnail(self) -> Image.Image:
        """A picture of 1/8 of each side, rounded up, fast. Raises as :meth:`latent`."""
        walk, header = self._current(), self._checked_header()
        assert self._model is not None
        small = small_pixels(walk.state, self._model, (header.height, header.width))
        alpha = self._alpha(header)
        if alpha is not None:
            size = (small.shape[1] * THUMBNAIL_SCALE, small.shape[0] * THUMBNAIL_SCALE)
            padded = np.pad(alpha, ((0, size[1] - header.height), (0, size[0] - header.width)), mode="edge")
            alpha = np.asarray(Image.fromarray(padded).reduce(THUMBNAIL_SCALE))
        return image_from_pixels(small, alpha)

    def _section(self, kind: int) -> sections.Section | None:
        if self._file is None:
            return None
        try:
            return self._file.section(kind)
        except FormatError as error:  # check sums fit, and these are no sections
            self._unsound = True
            self._tell(DamageError(str(error)))
            return None

    def _alpha(self, header: Header) -> Pixels | None:
        """Transparency uint8 [height, width], as far as it is there, opaque elsewhere; None without it."""
        if not header.alpha:
            return None
        alpha = np.full((header.height, header.width), 255, np.uint8)
        if (section := self._section(sections.ALPHA_ROUGH)) is not None:
            rough = transparency.unpack_rough(section.data, header.width, header.height)
            alpha = alpha if rough is None else rough
        if (section := self._section(sections.ALPHA)) is not None:
            alpha = transparency.unpack(section.data, alpha)
        return alpha


def _raising(error: Exception) -> Iterator[None]:
    yield from ()
    raise error


def decode(
    data: bytes | bytearray | memoryview,
    options: DecodeOptions | None = None,
    *,
    bpp: float | None = None,
    nbytes: int | None = None,
    weights: str | os.PathLike[str] | CodecModel | None = None,
    **changes: Unpack[DecodeKeywords],
) -> Image.Image:
    """Decode a .ctc file, or any prefix of one, to a Pillow image of mode RGB, L, RGBA or LA.

    Kept metadata is in ``info["exif"]`` and ``info["xmp"]``, bytes as Pillow's own formats have them.

    options: see :class:`DecodeOptions`; None for the defaults.
    bpp, nbytes: decode only the prefix that :func:`truncate` would keep.
    weights: a weights file, a loaded model, or None for the packaged weights.
    changes: fields of the options by name.

    Raises FormatError, DamageError, WeightsError, LimitError, TargetError, TypeError.
    """
    if bpp is not None and nbytes is not None:
        raise ValueError("give at most one of bpp and nbytes")
    if bpp is not None or nbytes is not None:
        data = truncate(data, bpp=bpp, nbytes=nbytes)
    decoder = Decoder(with_changes("decode", DecodeOptions, options, changes), weights=weights)
    decoder.feed(data)
    decoder.finish()
    return decoder.image()


def thumbnail(
    data: bytes | bytearray | memoryview,
    options: DecodeOptions | None = None,
    *,
    weights: str | os.PathLike[str] | CodecModel | None = None,
    **changes: Unpack[DecodeKeywords],
) -> Image.Image:
    """A picture of 1/8 of each side (rounded up), fast, from the first bytes of a .ctc file.

    Little more than 1/8 bit per pixel is read, in whole blocks of 4 KiB: more cannot be seen at this size.
    Arguments and errors as for :func:`decode`.
    """
    data = as_bytes(data)
    decoder = Decoder(with_changes("thumbnail", DecodeOptions, options, changes), weights=weights)
    decoder.feed(data[: thumbnail_bytes(Header.parse(data)[0])])
    decoder.finish()
    return decoder.thumbnail()
