"""Pillow plugin: ``Image.open("x.ctc")`` and ``image.save("x.ctc", bpp=0.3)``.

``import ctc_codec.pillow`` registers it, as ctc_codec.register_pillow() does.
Opening reads the header alone and loads no weights. Cut files open at the quality they hold; ``image.info``
has ``bytes_used``, ``bpp`` and ``complete``. Damage is an OSError when pixels are loaded; with
``PIL.ImageFile.LOAD_TRUNCATED_IMAGES`` what stands before it is decoded, and ``info["damage"]`` tells.
Weights are those that the command takes: $CTC_WEIGHTS, or the packaged ones.
"""

from __future__ import annotations

import os
from typing import IO, Any

from PIL import Image, ImageFile, UnidentifiedImageError

from .container.file import parse
from .container.header import MAGIC, MAX_HEADER_BYTES, Header
from .errors import CtcError

SAVE_OPTIONS = ("quality", "bpp", "nbytes", "psnr", "effort", "background", "metadata", "quality_table")
"""Arguments of :func:`ctc_codec.encode` that ``save`` passes on."""


class CtcImageFile(ImageFile.ImageFile):
    """A .ctc file as Pillow opens it."""

    format = "CTC"
    format_description = "Progressive image of ctc-codec"

    def _open(self) -> None:
        assert self.fp is not None
        self._start = self.fp.tell()
        try:
            self._header = Header.parse(self.fp.read(MAX_HEADER_BYTES))[0]
        except CtcError as error:
            # Not SyntaxError, for which Pillow tries other formats and drops the reason: the file is ours.
            raise UnidentifiedImageError(f"cannot identify {self.filename or self.fp!r}: {error}") from None
        self._size = self._header.width, self._header.height
        self._mode = self._header.mode
        self.fp.seek(0, os.SEEK_END)
        self._describe(self.fp.tell() - self._start)
        self.tile = [ImageFile._Tile("ctc", (0, 0, *self._size), self._start, ())]  # not loaded yet

    def _describe(self, nbytes: int) -> None:
        whole, used = self._header.file_bytes, min(nbytes, self._header.file_bytes)
        self.info.update(bytes_used=used, bpp=8 * used / (self.width * self.height), complete=used == whole)

    def _content(self) -> bytes:
        if self.fp is None:
            raise ValueError("operation on a closed image")
        self.fp.seek(self._start)
        return self.fp.read()

    def load(self) -> Any:
        if self.tile:
            from .codec.decoder import Decoder

            decoder = Decoder(
                weights=os.environ.get("CTC_WEIGHTS") or None,
                accept_damage=ImageFile.LOAD_TRUNCATED_IMAGES,
                max_pixels=None,  # Pillow has held the size against its own limit when the file was opened
                warn=lambda damage: self.info.update(damage=damage),
            )
            data = self._content()
            try:
                decoder.feed(data)
                image = decoder.image()
            except CtcError as error:
                raise OSError(str(error)) from error
            self.im, self._mode, self._size = image.im, image.mode, image.size
            self._describe(decoder.bytes_used)
            self.info.update({name: image.info[name] for name in ("exif", "xmp") if name in image.info})
            self.tile = []
            super().verify()  # closes the file if Pillow opened it
        return super().load()

    def load_seek(self, pos: int) -> None:
        """Its existence tells ImageFile.Parser not to decode the data itself."""

    def getexif(self) -> Image.Exif:
        self.load()  # it is known then only, as with PNG
        return super().getexif()

    def verify(self) -> None:
        """Check all check sums without decoding. A cut file is in order: every prefix is an image."""
        damage = parse(self._content()).damage
        super().verify()
        if damage is not None:
            raise OSError(damage)


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    from .codec.encoder import encode

    if unknown := [name for name in image.encoderinfo if name not in SAVE_OPTIONS]:
        raise ValueError(f"no option {unknown[0]!r} for .ctc; there are {', '.join(SAVE_OPTIONS)}")
    weights = os.environ.get("CTC_WEIGHTS") or None
    try:
        file.write(encode(image, weights=weights, max_pixels=None, **image.encoderinfo))
    except CtcError as error:
        raise OSError(f"cannot write .ctc: {error}") from error


def _save_all(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    if image.encoderinfo.pop("append_images", None) or getattr(image, "n_frames", 1) > 1:
        raise ValueError("a .ctc file holds one image: save without save_all and append_images")
    _save(image, file, filename)


def register_pillow() -> None:
    """Make Pillow open and save .ctc files. Calling it again does no harm."""
    Image.register_open(CtcImageFile.format, CtcImageFile, lambda prefix: prefix.startswith(MAGIC))
    Image.register_save(CtcImageFile.format, _save)
    Image.register_save_all(CtcImageFile.format, _save_all)
    Image.register_extension(CtcImageFile.format, ".ctc")
    Image.register_mime(CtcImageFile.format, "image/x-ctc")


register_pillow()
