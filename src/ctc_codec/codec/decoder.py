"""Decoding as the bytes arrive."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..container import sections as extras
from ..container.blocks import BLOCK_BYTES, Unframer
from ..container.coder import RangeDecoder
from ..container.file import split_stream, truncate
from ..container.header import MAX_HEADER_BYTES, MAX_PIXELS, Header, HeaderCutError, check_pixels
from ..errors import DamageError, WeightsError
from ..image import transparency as _alpha
from ..image.save import image_from_pixels
from ..planes.state import State
from .model import CodecModel, model_of
from .picture import THUMBNAIL_SCALE, pixels, small_pixels
from .walk import Reader, Walk

Pixels = npt.NDArray[np.uint8]

_STEP_BYTES = 4096
_STEP_SHARE = 16
"""Data is decoded as soon as it has grown by 4 KiB, or by a sixteenth if that is more."""


@dataclass(frozen=True)
class DecodedLatent:
    """All that the bytes at hand tell about the latent.

    state: every element's value, whether it is known at the state's plane, and its density; planes: in the
    file;
    planes_held: how many of them are complete, and the share of elements that are known at the next one;
    low_held: the low band is there (without it, the picture is grey); slices: decoded.
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
    """Decodes a .ctc stream that arrives in pieces; there is an image at any time.

        decoder = ctc_codec.Decoder()
        for chunk in response.iter_bytes():
            decoder.feed(chunk)
            show(decoder.image())        # costs a synthesis, no second reading of trits

    weights, accept_damage, max_pixels, warn, refine, synthesis: as for :func:`ctc_codec.decode`.
    header: what the file says of itself, None until its bytes are here. Not safe to share by threads.
    """

    def __init__(
        self,
        *,
        weights: str | os.PathLike[str] | CodecModel | None = None,
        accept_damage: bool = False,
        max_pixels: int | None = MAX_PIXELS,
        warn: Callable[[str], Any] | None = None,
        refine: bool = True,
        synthesis: bool = True,
    ) -> None:
        self.header: Header | None = None
        self._weights = weights
        self._accept_damage, self._max_pixels, self._warn = accept_damage, max_pixels, warn
        self._how = {"refine": refine, "synthesis": synthesis}
        self._head = bytearray()
        self._model: CodecModel | None = None
        self._unframer: Unframer | None = None
        self._reader: RangeDecoder | None = None
        self._walk: Walk | None = None
        self._steps: Iterator[None] = iter(())
        self._decoded, self._decoded_whole = 0, False
        """Bytes of the stream that have been decoded; whether they were known to be all."""
        self._extras = b""
        self._told = False
        self._no_code = False
        self._finished = False

    @property
    def bytes_used(self) -> int:
        """Bytes of the file that :meth:`image` makes use of: all that came, or those before the damage."""
        return len(self._head) if self._unframer is None else self._unframer.used

    @property
    def complete(self) -> bool:
        """The whole file has come, undamaged."""
        return self._unframer is not None and self._unframer.complete and not self._no_code

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file, any number of them.

        Raises FormatError if this is no .ctc file, DamageError at damaged bytes unless that is accepted,
        WeightsError for other weights, LimitError, ValueError after :meth:`finish`.
        """
        if self._finished:
            raise ValueError("this decoder is finished")
        if self._unframer is None:
            self._head += chunk
            try:
                header, start = Header.parse(bytes(self._head[:MAX_HEADER_BYTES]))
            except HeaderCutError:
                return
            self._begin(header, start)
            chunk = bytes(self._head[start:])
            self._head.clear()
        assert self._unframer is not None
        self._unframer.feed(chunk)
        if self._unframer.damage is not None and not self._told:
            self._told = True
            if self._unframer.length < self._decoded:
                self._restart()  # bytes of the damaged block have been read, before its check sum came
            if not self._accept_damage:
                raise DamageError(self._unframer.damage)
            if self._warn is not None:
                self._warn(self._unframer.damage)
        grown = self._unframer.length - self._decoded
        if self._unframer.complete or grown >= max(_STEP_BYTES, self._decoded // _STEP_SHARE):
            self._advance()

    def _begin(self, header: Header, header_bytes: int) -> None:
        check_pixels(header.width, header.height, self._max_pixels)
        self._model = model_of(self._weights)
        if header.fingerprint != self._model.fingerprint:
            raise WeightsError(
                f"made with other weights (file {header.fingerprint.hex()}, "
                f"here {self._model.fingerprint.hex()})"
            )
        self.header = header
        self._unframer = Unframer(header.payload_bytes, header_bytes)
        self._restart()

    def _restart(self) -> None:
        header = self.checked_header()
        assert self._model is not None
        self._reader = RangeDecoder()
        size, colours = (header.height, header.width), 1 if header.grey else 3
        self._walk = Walk(
            self._model, size, colours, header.planes, Reader(self._reader), slices=header.slices
        )
        self._steps = iter(self._walk)
        self._decoded, self._decoded_whole = 0, False

    def checked_header(self) -> Header:
        """The header. Raises FormatError while it is not complete."""
        if self.header is None:
            return Header.parse(bytes(self._head))[0]
        return self.header

    def _read(self, code: bytes, complete: bool) -> None:
        """Go on with the code word, as far as it is known. Raises DamageError."""
        assert self._reader is not None
        self._reader.extend(code, complete)
        next(self._steps, None)

    def _advance(self) -> None:
        """Decode all that has come."""
        header = self.checked_header()
        assert self._unframer is not None
        if self._unframer.length > self._decoded or (self.complete and not self._decoded_whole):
            code, self._extras = split_stream(self._unframer.data, header)
            try:
                self._read(code, self.complete)
            except DamageError as error:
                if not self._accept_damage:
                    self._steps = _raising(error)
                    raise
                # Check sums fit and the code word is none: it is read as one that was cut.
                self._no_code = True
                if self._warn is not None and not self._told:
                    self._warn(str(error))
                self._told = True
                self._restart()
                try:
                    self._read(code, False)
                except DamageError:
                    self._steps = iter(())
            self._decoded, self._decoded_whole = self._unframer.length, self.complete

    def finish(self) -> None:
        """No more bytes will come."""
        self._advance()
        self._finished = True

    def latent(self) -> DecodedLatent:
        """What is known of the latent now; later bytes do not change it. Raises FormatError while the header
        is not complete, DamageError for a whole stream that no encoder writes."""
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
        walk, header = self._current(), self.checked_header()
        assert self._model is not None
        rows = walk.rows_now() if self._how["refine"] else None
        shown = pixels(walk.state, self._model, (header.height, header.width), rows=rows, **self._how)
        return self._complete_image(shown, header)

    def thumbnail(self) -> Image.Image:
        """A picture of 1/8 of each side, rounded up, fast. Raises as :meth:`latent`."""
        walk, header = self._current(), self.checked_header()
        assert self._model is not None
        small = small_pixels(walk.state, self._model, (header.height, header.width))
        alpha = self._alpha(header)
        if alpha is not None:
            size = (small.shape[1] * THUMBNAIL_SCALE, small.shape[0] * THUMBNAIL_SCALE)
            padded = np.pad(alpha, ((0, size[1] - header.height), (0, size[0] - header.width)), mode="edge")
            alpha = np.asarray(Image.fromarray(padded).reduce(THUMBNAIL_SCALE))
        return image_from_pixels(small, alpha)

    def _alpha(self, header: Header) -> Pixels | None:
        if not header.alpha:
            return None
        alpha = np.full((header.height, header.width), 255, np.uint8)
        sections = extras.first_sections(self._extras)
        if (section := sections.get(extras.ALPHA_ROUGH)) is not None:
            rough = _alpha.unpack_rough(section.data, header.width, header.height)
            alpha = alpha if rough is None else rough
        if (section := sections.get(extras.ALPHA)) is not None:
            alpha = _alpha.unpack(section.data, alpha)
        return alpha

    def _complete_image(self, shown: Pixels, header: Header) -> Image.Image:
        image = image_from_pixels(shown, self._alpha(header))
        for section in extras.first_sections(self._extras).values():
            name = {extras.EXIF: "exif", extras.XMP: "xmp"}.get(section.kind)
            if name is not None and section.complete:
                text = extras.unpack_text(section.data)
                if text is not None:
                    image.info[name] = text
        return image


def _raising(error: Exception) -> Iterator[None]:
    yield from ()
    raise error


def decode(
    data: bytes,
    *,
    bpp: float | None = None,
    nbytes: int | None = None,
    weights: str | os.PathLike[str] | CodecModel | None = None,
    accept_damage: bool = False,
    max_pixels: int | None = MAX_PIXELS,
    warn: Callable[[str], Any] | None = None,
    refine: bool = True,
    synthesis: bool = True,
) -> Image.Image:
    """Decode a .ctc stream, or any prefix of one, to a Pillow image of mode RGB, L, RGBA or LA.

    Kept metadata is in ``info["exif"]`` and ``info["xmp"]``, bytes.
    bpp, nbytes: decode only the prefix that :func:`truncate` would keep.
    accept_damage: use what stands before damaged bytes; ``warn`` gets the message.
    refine, synthesis: with CDR, and with the synthesis network if the weights have one.

    Raises FormatError, DamageError, WeightsError, LimitError.
    """
    if bpp is not None or nbytes is not None:
        data = truncate(data, bpp=bpp, nbytes=nbytes)
    decoder = Decoder(
        weights=weights,
        accept_damage=accept_damage,
        max_pixels=max_pixels,
        warn=warn,
        refine=refine,
        synthesis=synthesis,
    )
    decoder.feed(data)
    decoder.finish()
    return decoder.image()


def thumbnail(
    data: bytes,
    *,
    weights: str | os.PathLike[str] | CodecModel | None = None,
    accept_damage: bool = False,
    max_pixels: int | None = MAX_PIXELS,
    warn: Callable[[str], Any] | None = None,
) -> Image.Image:
    """A picture of 1/8 of each side (rounded up), fast, from the first bytes of a .ctc stream.

    No more than 1/8 bit per pixel is read: what more bytes tell cannot be seen at this size. Arguments
    and errors as for :func:`decode`.
    """
    header, start = Header.parse(data)
    blocks = -(-(_THUMBNAIL_BYTES + header.width * header.height // 64) // BLOCK_BYTES)
    enough = start + blocks * BLOCK_BYTES  # with the last one's check sum
    decoder = Decoder(weights=weights, accept_damage=accept_damage, max_pixels=max_pixels, warn=warn)
    decoder.feed(data[:enough])
    decoder.finish()
    return decoder.thumbnail()


_THUMBNAIL_BYTES = 512
