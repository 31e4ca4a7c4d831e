"""Other codecs: Pillow's, its JPEG XL plugin, and the JPEG XL command-line tools where they are installed."""

from __future__ import annotations

import importlib
import io
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image, ImageFile, features

from ..image.transparency import Pixels
from .codecs import Codec, PeerError, Stream

_TIMEOUT = 120
_JPEG, _JPEG2000 = "libjpeg_turbo", "jpg_2000"
_BASELINE = {"subsampling": "4:2:0", "optimize": True}
_AVIF = {"subsampling": "4:4:4", "speed": 6, "max_threads": 1}
_JPEGXL = {"effort": 7, "num_threads": 1}
_JPEG2000_RATES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.4, 2.0, 3.0)


def _saved(pixels: Pixels, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def _library_version(feature: str) -> str:
    if not features.check(feature):
        raise PeerError(f"Pillow {PIL.__version__} is built without {feature}")
    return f"Pillow {PIL.__version__}, {feature} {features.version(feature)}"


def opened(data: bytes) -> Pixels:
    """An image file as uint8 [height, width, 3]."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@dataclass(frozen=True)
class PillowCodec:
    """A format that Pillow writes at one quality per file.

    kind: its name in Pillow.
    qualities: of the files.
    options: of Pillow's writer.
    feature: of Pillow, or the package of ``plugin``.
    plugin: module that registers the format; None if Pillow has it.
    """

    name: str
    label: str
    setting: str
    kind: str
    qualities: Sequence[float]
    options: Mapping[str, Any]
    feature: str
    plugin: str | None = None
    embedded: bool = False
    unit: str = "quality"

    def version(self) -> str:
        if self.plugin is None:
            return _library_version(self.feature)
        try:
            importlib.import_module(self.plugin)
        except ImportError as error:
            raise PeerError(f"{self.feature} is not installed ({error})") from None
        return f"{self.feature} {metadata.version(self.feature)}"

    def streams(self, pixels: Pixels) -> Iterator[Stream]:
        self.version()  # a plugin registers when it is imported
        for quality in self.qualities:
            data = _saved(pixels, self.kind, quality=quality, **self.options)
            yield Stream(quality, len(data), partial(opened, data))


def jpeg_within(pixels: Pixels, nbytes: int) -> bytes | None:
    """The best 4:2:0 JPEG file of at most so many bytes; None if quality 1 is larger."""
    best, low, high = None, 1, 95
    while low <= high:
        quality = (low + high) // 2
        data = _saved(pixels, "JPEG", quality=quality, **_BASELINE)
        if len(data) <= nbytes:
            best, low = data, quality + 1
        else:
            high = quality - 1
    return best


@dataclass(frozen=True)
class ProgressiveJpeg:
    """One progressive JPEG file, cut where scans end (libjpeg's ten for 4:2:0 colour)."""

    quality: int = 90
    name: str = "jpeg-progressive"
    label: str = "progressive JPEG, cut"
    setting: str = "quality 90, 4:2:0, cut at the ends of its scans"
    embedded: bool = True
    unit: str = "scans"

    def version(self) -> str:
        return _library_version(_JPEG)

    def streams(self, pixels: Pixels) -> Iterator[Stream]:
        """Encode once; ``asked`` is the number of scans."""
        data = _saved(pixels, "JPEG", quality=self.quality, subsampling="4:2:0", progressive=True)
        for number, end in enumerate(scan_ends(data), 1):
            yield Stream(number, end, partial(opened, data[:end] + b"\xff\xd9"))


def scan_ends(data: bytes) -> list[int]:
    """Byte positions after the entropy-coded data of each scan of a JPEG file (ITU-T T.81, annex B)."""
    ends, position = [], 2
    while data[position + 1] != 0xD9:
        marker = data[position + 1]
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xDA:
            while not (data[position] == 0xFF and data[position + 1] not in (0, *range(0xD0, 0xD8))):
                position += 1
            ends.append(position)
    return ends


def _jpeg2000(pixels: Pixels, rates: Sequence[float], **options: Any) -> bytes:
    """A code stream of OpenJPEG with the 9/7 wavelet and ICT, one quality layer per rate in bpp."""
    layers = [24 / rate for rate in rates]
    options |= {"no_jp2": True, "quality_mode": "rates", "irreversible": True, "mct": 1}
    return _saved(pixels, "JPEG2000", quality_layers=layers, **options)


@dataclass(frozen=True)
class Jpeg2000:
    """JPEG 2000 made for one rate per file: its best at each."""

    rates: Sequence[float] = _JPEG2000_RATES
    name: str = "jpeg2000"
    label: str = "JPEG 2000, a file per rate"
    setting: str = "OpenJPEG, 9/7, ICT"
    embedded: bool = False
    unit: str = "bpp"

    def version(self) -> str:
        return _library_version(_JPEG2000)

    def streams(self, pixels: Pixels) -> Iterator[Stream]:
        for rate in self.rates:
            data = _jpeg2000(pixels, [rate])
            yield Stream(rate, len(data), partial(opened, data))


@dataclass(frozen=True)
class LayeredJpeg2000(Jpeg2000):
    """One JPEG 2000 code stream with a quality layer per rate (LRCP, 9/7, ICT), decoded layer by layer.

    Rates count the bytes up to the end of each layer's packets, without the packet-length markers that are
    only written to find those ends.
    """

    name: str = "jpeg2000-layered"
    label: str = "JPEG 2000, layered"
    setting: str = "OpenJPEG, one LRCP stream, 9/7, ICT, decoded layer by layer"
    embedded: bool = True

    def streams(self, pixels: Pixels) -> Iterator[Stream]:
        data = _jpeg2000(pixels, self.rates, progression="LRCP", plt=True)
        for layer, (rate, end) in enumerate(zip(self.rates, layer_ends(data), strict=True), 1):
            yield Stream(rate, end, partial(_layers, data, layer))


def _layers(data: bytes, count: int) -> Pixels:
    """Decode the first layers of a code stream. Pillow hands its ``layers`` to OpenJPEG only together with
    a reduced size, so they are put into the tile's arguments here."""
    image = Image.open(io.BytesIO(data))
    assert isinstance(image, ImageFile.ImageFile)
    codec, box, offset, arguments = image.tile[0]
    assert isinstance(arguments, tuple)
    kind, reduce, _, descriptor, length = arguments
    image.tile = [ImageFile._Tile(codec, box, offset, (kind, reduce, count, descriptor, length))]
    return np.asarray(image.convert("RGB"))


def layer_ends(data: bytes) -> list[int]:
    """Bytes of a one-tile LRCP code stream up to the end of each layer, less its PLT segments.

    From the packet lengths in the PLT segments (ITU-T T.800, A.7.3): packets lie in order of layers.
    """
    lengths, position, overhead, layers, value = [], 2, 0, 0, 0
    while data[position : position + 2] != b"\xff\x93":  # SOD, start of data
        marker = data[position + 1]
        size = int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0x52:  # COD: coding style
            layers = int.from_bytes(data[position + 6 : position + 8], "big")
        elif marker == 0x58:  # PLT
            overhead += 2 + size
            for byte in data[position + 5 : position + 2 + size]:
                value = value << 7 | byte & 0x7F
                if byte < 0x80:
                    lengths.append(value)
                    value = 0
        position += 2 + size
    each = len(lengths) // layers
    ends = position + 2 - overhead + np.cumsum(lengths)[each - 1 :: each]
    return [int(end) for end in ends]


@dataclass(frozen=True)
class ProgressiveJpegXl:
    """One progressive JPEG XL file, cut at every rate; from the command-line tools, which show cut files."""

    rates: Sequence[float] = (0.2, 0.3, 0.5, 0.75, 1.0, 1.4)
    name: str = "jpegxl-progressive"
    label: str = "progressive JPEG XL, cut"
    setting: str = "cjxl -p -q 88, djxl --allow_partial_files"
    embedded: bool = True
    unit: str = "bpp"

    def version(self) -> str:
        for tool in ("cjxl", "djxl"):
            if shutil.which(tool) is None:
                raise PeerError(f"{tool} is not installed (Debian's libjxl-tools)")
        told = subprocess.run(["cjxl", "--version"], capture_output=True, text=True, timeout=_TIMEOUT)
        return " ".join((told.stdout + told.stderr).split()[:2])

    def streams(self, pixels: Pixels) -> Iterator[Stream]:
        """Encode once; a cut that djxl cannot show raises PeerError when it is decoded."""
        with tempfile.TemporaryDirectory() as folder:
            source, coded = Path(folder) / "a.ppm", Path(folder) / "a.jxl"
            Image.fromarray(pixels).save(source)
            _tool("cjxl", "-p", "-q", "88", "--quiet", str(source), str(coded))
            data = coded.read_bytes()
        for rate in self.rates:
            part = data[: int(rate * pixels.shape[0] * pixels.shape[1] / 8)]
            yield Stream(rate, len(part), partial(_partial_jxl, part))


def _tool(*command: str) -> None:
    told = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT)
    if told.returncode:
        raise PeerError(f"{command[0]}: {' '.join(told.stderr.split()) or told.returncode}")


def _partial_jxl(part: bytes) -> Pixels:
    with tempfile.TemporaryDirectory() as folder:
        coded, shown = Path(folder) / "a.jxl", Path(folder) / "a.ppm"
        coded.write_bytes(part)
        _tool("djxl", "--allow_partial_files", "--quiet", str(coded), str(shown))
        with Image.open(shown) as image:
            return np.asarray(image.convert("RGB"))


PEERS: tuple[Codec, ...] = (
    LayeredJpeg2000(),
    Jpeg2000(),
    PillowCodec(
        "jpeg", "JPEG", "4:2:0, optimised tables", "JPEG", (3, 8, 15, 30, 50, 75, 90), _BASELINE, _JPEG
    ),
    ProgressiveJpeg(),
    PillowCodec("webp", "WebP", "method 6", "WEBP", (0, 5, 20, 45, 70, 88), {"method": 6}, "webp"),
    PillowCodec(
        "avif", "AVIF", "4:4:4, speed 6, one thread", "AVIF", (2, 10, 20, 33, 45, 60, 78), _AVIF, "avif"
    ),
    PillowCodec(
        "jpegxl",
        "JPEG XL",
        "effort 7",
        "JXL",
        (5, 15, 35, 55, 70, 82, 90),
        _JPEGXL,
        "pillow-jxl-plugin",
        "pillow_jxl",
    ),
    ProgressiveJpegXl(),
)
