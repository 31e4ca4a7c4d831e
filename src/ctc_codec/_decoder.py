"""Decoding as the bytes arrive."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from . import _alpha, _extras
from ._container import split_stream
from ._device import resolve_device
from ._errors import DamageError, WeightsError
from ._framing import Unframer
from ._header import MAX_HEADER_BYTES, MAX_PIXELS, Header, HeaderCutError, check_pixels
from ._image import Pixels
from ._latent import synthesise
from ._model import CodecModel, model_of
from ._save import image_from_pixels
from ._stream import DecodedLatent, StreamDecoder
from ._thumbnail import THUMBNAIL_CHANNELS, THUMBNAIL_SCALE, thumbnail_pixels

_CPU = torch.device("cpu")

_STEP_BYTES = 4096
_STEP_SHARE = 16
"""Data is decoded as soon as it has grown by 4 KiB, or by a sixteenth if that is more."""


class Decoder:
    """Decodes a .ctc stream that arrives in pieces; there is an image at any time.

        decoder = ctc_codec.Decoder()
        for chunk in response.iter_bytes():
            decoder.feed(chunk)
            show(decoder.image())        # costs a synthesis, no second reading of trits

    weights, device, accept_damage, max_pixels, warn, refine: as for :func:`ctc_codec.decode`.
    header: what the file says of itself, None until its bytes are here. Not safe to share by threads.
    """

    def __init__(
        self,
        *,
        weights: str | os.PathLike[str] | CodecModel | None = None,
        device: str = "auto",
        accept_damage: bool = False,
        max_pixels: int | None = MAX_PIXELS,
        warn: Callable[[str], Any] | None = None,
        refine: bool = True,
    ) -> None:
        self.header: Header | None = None
        self._weights, self._device = weights, device
        self._accept_damage, self._max_pixels, self._warn = accept_damage, max_pixels, warn
        self._refine = refine
        self._head = bytearray()
        self._model: CodecModel | None = None
        self._unframer: Unframer | None = None
        self._stream: StreamDecoder | None = None
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
        self._stream = StreamDecoder(self._model, header.width, header.height, header.coding)
        self._decoded, self._decoded_whole = 0, False

    def checked_header(self) -> Header:
        """The header. Raises FormatError while it is not complete."""
        if self.header is None:
            return Header.parse(bytes(self._head))[0]
        return self.header

    def _advance(self) -> None:
        """Decode all that has come."""
        header = self.checked_header()
        assert self._unframer is not None
        assert self._stream is not None
        if self._unframer.length > self._decoded or (self.complete and not self._decoded_whole):
            code, self._extras = split_stream(self._unframer.data, header)
            try:
                self._stream.advance(code, self.complete)
            except DamageError as error:
                if not self._accept_damage:
                    raise
                # Check sums fit and the end is not that of a code word: it is read as one that was cut.
                self._no_code = True
                if self._warn is not None and not self._told:
                    self._warn(str(error))
                self._told = True
                self._restart()
                self._stream.advance(code, False)
            self._decoded, self._decoded_whole = self._unframer.length, self.complete

    def finish(self) -> None:
        """No more bytes will come: what only they would need, much for large images, is given back."""
        self._advance()
        assert self._stream is not None
        self._stream.finish()
        self._finished = True

    def latent(self) -> DecodedLatent:
        """What is known of the latent now; later bytes do not change it. Raises FormatError while the header
        is not complete, DamageError for a whole stream that no encoder writes."""
        latent = self._current()
        return latent if self._finished else replace(latent, state=latent.state.frozen())

    def _current(self) -> DecodedLatent:
        """The same without a copy."""
        self._advance()
        assert self._stream is not None
        return self._stream.latent()

    def image(self) -> Image.Image:
        """The image now, of mode RGB, L, RGBA or LA; kept metadata is in its info. Raises as :meth:`latent`.

        Of a file with transparency that ends before it, the image is opaque.
        """
        latent, header = self._current(), self.checked_header()
        assert self._model is not None
        where = resolve_device(self._device)
        pixels = synthesise(self._model, latent, header.width, header.height, where, refine=self._refine)
        return self._complete_image(pixels, header)

    def thumbnail(self) -> Image.Image:
        """A picture of 1/8 of each side, rounded up, fast. Raises as :meth:`latent`."""
        latent, header = self._current(), self.checked_header()
        assert self._model is not None
        synthesis, kernel = self._model.networks(_CPU).synthesis, self._model.thumbnail_kernel()
        values = latent.values(latent.everywhere, slice(0, THUMBNAIL_CHANNELS))
        small = thumbnail_pixels(synthesis, kernel, values, header.width, header.height)
        pixels = small.numpy()
        alpha = self._alpha(header)
        if alpha is not None:
            size = (pixels.shape[1] * THUMBNAIL_SCALE, pixels.shape[0] * THUMBNAIL_SCALE)
            padded = np.pad(alpha, ((0, size[1] - header.height), (0, size[0] - header.width)), mode="edge")
            alpha = np.asarray(Image.fromarray(padded).reduce(THUMBNAIL_SCALE))
        return image_from_pixels(pixels, header.grey, alpha)

    def _alpha(self, header: Header) -> Pixels | None:
        if not header.alpha:
            return None
        alpha = np.full((header.height, header.width), 255, np.uint8)
        sections = _extras.first_sections(self._extras)
        if (section := sections.get(_extras.ALPHA_ROUGH)) is not None:
            rough = _alpha.unpack_rough(section.data, header.width, header.height)
            alpha = alpha if rough is None else rough
        if (section := sections.get(_extras.ALPHA)) is not None:
            alpha = _alpha.unpack(section.data, alpha)
        return alpha

    def _complete_image(self, pixels: Pixels, header: Header) -> Image.Image:
        image = image_from_pixels(pixels, header.grey, self._alpha(header))
        for section in _extras.first_sections(self._extras).values():
            name = {_extras.EXIF: "exif", _extras.XMP: "xmp"}.get(section.kind)
            if name is not None and section.complete:
                text = _extras.unpack_text(section.data)
                if text is not None:
                    image.info[name] = text
        return image
