"""Pillow plugin: ``Image.open("x.ctc")`` and ``image.save("x.ctc", bpp=0.3)``.

``import ctc_codec.pillow`` registers it, as ctc_codec.register_pillow() does.
Opening reads the header alone and loads no weights. Cut files open at the quality they hold; ``image.info``
has ``bytes_used``, ``bpp`` and ``complete``, and once pixels are loaded ``exif``, ``xmp`` and ``dpi``.
``draft`` and ``thumbnail`` read no more than a picture of an eighth of each side needs. Damage is an OSError
when pixels are loaded; with ``PIL.ImageFile.LOAD_TRUNCATED_IMAGES`` what stands before it is decoded, and
``info["damage"]`` tells. What follows the end of the .ctc is not read; ``verify`` finds it.
Weights are those that the command takes: $CTC_WEIGHTS, or the packaged ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any

from PIL import Image, ImageFile, UnidentifiedImageError

from .codec.options import THUMBNAIL_SCALE, EncodeOptions, thumbnail_bytes, thumbnail_size
from .container import sections
from .container.file import parse
from .container.header import MAGIC, MAX_HEADER_BYTES, Header
from .errors import CtcError

if TYPE_CHECKING:
    from .image.source import SourceImage

SAVE_OPTIONS = (
    "quality", "bpp", "nbytes", "psnr",
    "effort", "context", "background", "metadata", "quality_table", "warn",
)  # fmt: skip
"""Arguments of :func:`ctc_codec.encode` that ``save`` passes on."""

PILLOW_OPTIONS = ("exif", "xmp", "icc_profile", "dpi")
"""Arguments of ``save`` as Pillow's own formats take them."""

_ELSEWHERE = {"weights": "$CTC_WEIGHTS names them", "max_pixels": "PIL.Image.MAX_IMAGE_PIXELS is it"}
"""Arguments of encode that ``save`` does not take, and what is there instead."""

_Draft = tuple[str, tuple[int, int, float, float]]


class CtcImageFile(ImageFile.ImageFile):
    """A .ctc file as Pillow opens it."""

    format = "CTC"
    format_description = "Progressive image of ctc-codec"
    n_frames = 1
    is_animated = False
    _within: tuple[float, float] | None = None
    """The box that a thumbnail has to fill on one of its sides; None while none is made."""

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
        self._nbytes = self.fp.tell() - self._start
        self._describe(self._nbytes)
        self.tile = [ImageFile._Tile("ctc", (0, 0, *self._size), self._start, ())]  # not loaded yet

    def _describe(self, nbytes: int) -> None:
        header = self._header
        used = min(nbytes, header.file_bytes)
        bpp = 8 * used / (header.width * header.height)
        self.info.update(bytes_used=used, bpp=bpp, complete=used == header.file_bytes)

    def _content(self, count: int) -> bytes:
        """The first bytes of the file, as far as they are there."""
        if self.fp is None:
            raise ValueError("operation on a closed image")
        self.fp.seek(self._start)
        return self.fp.read(min(count, self._nbytes))  # a header may tell of more than memory holds

    @property
    def _metadata_bytes(self) -> int:
        """Size of the beginning that holds all metadata."""
        header = self._header
        beside = header.lead_bytes + header.extras_bytes  # of the code word
        return header.file_bytes if beside >= header.code_bytes else header.file_position(beside)

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> _Draft | None:
        """As of a JPEG file: load mode L or YCbCr instead of RGB, and an eighth of each side, rounded up, if
        that is no smaller than ``size``. Return the mode and the place of the picture in what is loaded, or
        None if pixels are loaded, or this was called before."""
        if not self.tile or self.decoderconfig:
            return None
        if self._mode == "RGB" and mode in ("L", "YCbCr"):
            self._mode = mode
        width, height = self._size
        small = thumbnail_size(width, height)
        if self._within is not None:
            fits = small[0] >= self._within[0] or small[1] >= self._within[1]
        else:
            fits = size is not None and small[0] >= size[0] and small[1] >= size[1]
        scale = THUMBNAIL_SCALE if fits else 1
        self.decoderconfig = (scale,)
        if fits:
            self._size = small
            self.tile = [ImageFile._Tile("ctc", (0, 0, *small), self._start, ())]
        return self._mode, (0, 0, width / scale, height / scale)

    def thumbnail(
        self,
        size: tuple[float, float],
        resample: Image.Resampling = Image.Resampling.BICUBIC,
        reducing_gap: float | None = 2.0,
    ) -> None:
        """As of any image, made from an eighth of each side where that is large enough. ``reducing_gap=None``
        makes it from the whole picture."""
        # Pillow would ask for twice the box on both sides: there is no scale between for that.
        self._within = size
        try:
            super().thumbnail(size, resample, reducing_gap)
        finally:
            self._within = None

    def load(self) -> Any:
        if self.tile:
            from .codec.decoder import Decoder

            decoder = Decoder(
                weights=os.environ.get("CTC_WEIGHTS") or None,
                accept_damage=ImageFile.LOAD_TRUNCATED_IMAGES,
                max_pixels=None,  # Pillow has held the size against its own limit when the file was opened
                warn=lambda damage: self.info.update(damage=damage),
            )
            small, enough = self.decoderconfig == (THUMBNAIL_SCALE,), self._header.file_bytes
            if small:
                enough = thumbnail_bytes(self._header)
            data = self._content(max(enough, self._metadata_bytes))
            try:
                decoder.feed(data[:enough])
                image = decoder.thumbnail() if small else decoder.image()
            except CtcError as error:
                raise OSError(str(error)) from error
            if image.mode != self._mode:
                image = image.convert(self._mode)
            self.im, self._size = image.im, image.size
            self.readonly = 0
            if not small:
                self._describe(decoder.bytes_used)
            self._read_metadata(data[: self._metadata_bytes])
            self.tile = []
            super().verify()  # closes the file if Pillow opened it
        return super().load()

    def load_seek(self, pos: int) -> None:
        """Its existence tells ImageFile.Parser not to decode the data itself."""

    def _read_metadata(self, data: bytes) -> None:
        from .image.exif import PREFIX, resolution

        texts: dict[int, bytes | None] = {}
        with suppress(CtcError):
            file = parse(data)
            for kind in (sections.EXIF, sections.XMP):
                section = file.section(kind)
                if section is not None and section.complete:
                    texts[kind] = sections.unpack_text(section.data)
        if xmp := texts.get(sections.XMP):
            self.info["xmp"] = xmp
        if exif := texts.get(sections.EXIF):
            with suppress(Exception):  # what is none, at which Pillow would stop
                known = resolution(exif)
                self.info["exif"] = PREFIX + exif  # as from other formats: saving JPEG takes it as it is
                if known is not None and known.dpi is not None:
                    self.info["dpi"] = known.dpi

    def getexif(self) -> Image.Exif:
        if self.tile:
            self._read_metadata(self._content(self._metadata_bytes))
        return super().getexif()

    def getxmp(self, **how: Any) -> dict[str, Any]:
        if self.tile:
            self._read_metadata(self._content(self._metadata_bytes))
        return super().getxmp(**how)

    def verify(self) -> None:
        """Check all check sums without decoding. A cut file is in order: every prefix is an image."""
        whole = self._header.file_bytes
        damage = parse(self._content(whole)).damage
        super().verify()
        if damage is None and self._nbytes > whole:
            damage = f"{self._nbytes - whole} bytes follow the end of the stream at byte {whole}"
        if damage is not None:
            raise OSError(damage)


# --- saving -----------------------------------------------------------------------------------------


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    from .codec.encoder import encode

    given = image.encoderinfo
    if given.get("append_images"):
        raise ValueError("a .ctc file holds one image: save without append_images")
    _check_names(given)
    options = EncodeOptions(max_pixels=None, **{name: given[name] for name in SAVE_OPTIONS if name in given})
    try:
        source = _source(image, given, options)
        file.write(encode(source, options, weights=os.environ.get("CTC_WEIGHTS") or None))
    except CtcError as error:
        raise OSError(f"cannot write .ctc: {error}") from error


def _check_names(given: Iterable[str]) -> None:
    """Raise ValueError for an argument that was meant for this format and would do nothing.

    Pillow's formats take each other's arguments in silence. So does this one, but for slips of the pen.
    """
    from difflib import get_close_matches

    ours = (*SAVE_OPTIONS, *PILLOW_OPTIONS)
    for name in given:
        if name in _ELSEWHERE:
            raise ValueError(f"no option {name!r} for .ctc: {_ELSEWHERE[name]}")
        like = get_close_matches(name.lower(), ours, 1, 0.82)
        if like and name not in ours:
            raise ValueError(f"no option {name!r} for .ctc: is {like[0]!r} meant?")


def _source(image: Image.Image, given: Mapping[str, Any], options: EncodeOptions) -> SourceImage:
    """An image as it is coded, by arguments of ``save``.

    As in other formats, what is given is taken instead of what the image says itself: EXIF also tells which
    way is up, and no profile is sRGB. EXIF and XMP of the image are kept with ``metadata`` alone.
    """
    from .image.declaration import DECLARED, Colours
    from .image.exif import Kept, Resolution, mend
    from .image.source import source_image

    texts = {name: _bytes(given, name) for name in ("exif", "xmp")}
    info: dict[str, Any] = {name: text for name, text in texts.items() if text}
    if "icc_profile" in given:
        profile = _bytes(given, "icc_profile") or None
        info["icc_profile"] = profile
        info[DECLARED] = image.tell(), profile, [Colours(profile, embedded=True)] if profile else []
    keeps = {name: bool(texts[name]) if name in given else options.metadata for name in texts}
    dpi = _resolution(given)
    image = _with_info(image, info)
    source = source_image(image, background=options.background, metadata=any(keeps.values()))
    if options.warn is not None:
        for note in source.notes:
            options.warn(note)
    exif, xmp = source.exif if keeps["exif"] else b"", source.xmp if keeps["xmp"] else b""
    if dpi is not None:
        height, width = source.pixels.shape[:2]
        exif = mend(exif, Kept((width, height), resolution=Resolution.of(*dpi)))[0]
    return replace(source, exif=exif, xmp=xmp)


def _bytes(given: Mapping[str, Any], name: str) -> bytes:
    """Bytes that an argument holds, none for None. Raises TypeError, ValueError."""
    value = given.get(name)
    if isinstance(value, Image.Exif):
        try:
            return value.tobytes()
        except Exception as error:  # all kinds, for values that do not fit their tags
            raise ValueError(f"{name} cannot be written: {error}") from error
    if value is not None and not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"{name} must be bytes or None, not {type(value).__name__}")
    return bytes(value or b"")


def _resolution(given: Mapping[str, Any]) -> tuple[float, float] | None:
    """Dots per inch. Raises TypeError."""
    value = given.get("dpi")
    if value is None:
        return None
    try:
        x, y = map(float, value)
    except (TypeError, ValueError):
        raise TypeError(f"dpi must be two numbers, not {value!r}") from None
    return x, y


def _with_info(image: Image.Image, changes: dict[str, Any]) -> Image.Image:
    """The same image with changed ``info``: no copy, which would lose what its format keeps beside."""
    other = object.__new__(type(image))
    other.__dict__.update(image.__dict__, info=image.info | changes, _exif=None)
    return other


def _save_all(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    if getattr(image, "n_frames", 1) > 1:
        raise ValueError("a .ctc file holds one image: save without save_all")
    _save(image, file, filename)


def register_pillow() -> None:
    """Make Pillow open and save .ctc files. Calling it again does no harm."""
    Image.register_open(CtcImageFile.format, CtcImageFile, lambda prefix: prefix.startswith(MAGIC))
    Image.register_save(CtcImageFile.format, _save)
    Image.register_save_all(CtcImageFile.format, _save_all)
    Image.register_extension(CtcImageFile.format, ".ctc")
    Image.register_mime(CtcImageFile.format, "image/x-ctc")


register_pillow()
