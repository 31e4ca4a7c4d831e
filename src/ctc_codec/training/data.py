"""Training photographs: folders or tar shards of images, decoded once."""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

Pixels = npt.NDArray[np.uint8]

_LARGEST_SIDE = 928
"""Photographs are scaled down to this: less is left of the traces of JPEG in their details."""
_HELD_OUT = 32
"""One of so many photographs, by its name, is never trained on."""


def _is_image(name: str) -> bool:
    return Image.registered_extensions().get(Path(name).suffix.lower()) in Image.OPEN


def files_of(sources: Iterable[Path]) -> Iterator[Path]:
    """The images and tar shards below the sources, which are folders or such files themselves."""
    for source in sources:
        paths = sorted(source.rglob("*")) if source.is_dir() else [source]
        for path in paths:
            if (path.suffix.lower() == ".tar" or _is_image(path.name)) and path.is_file():
                yield path


def images_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of every image in a tar shard, or of the file itself. Raises ValueError, OSError."""
    if path.suffix.lower() != ".tar":
        yield path.name, path.read_bytes()
        return
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                data = tar.extractfile(member) if member.isfile() else None
                if data is not None and _is_image(member.name):
                    yield Path(member.name).name, data.read()
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{path}: not a usable shard ({error})") from None


def _decode(named: tuple[str, bytes]) -> Pixels:
    name, data = named
    try:
        with Image.open(io.BytesIO(data)) as image:
            picture = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name}: not a usable training image ({error})") from None
    picture.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def is_held_out(name: str) -> bool:
    """Whether a photograph of that file name is kept for measuring."""
    return zlib.crc32(Path(name).stem.encode()) % _HELD_OUT == 0


@dataclass(frozen=True)
class Source:
    """Photographs, uint8 [height, width, 3]: to train on, and held out to measure on."""

    photographs: list[Pixels]
    held_out: list[Pixels]

    @classmethod
    def read(cls, paths: Iterable[Path], exclude: tuple[str, ...] = ()) -> Source:
        """Read all images of folders and tar shards, but for names that begin with one of ``exclude``.

        Raises ValueError for a damaged one, or if there is none to train on; OSError.
        """
        named = [
            item for path in files_of(paths) for item in images_of(path) if not item[0].startswith(exclude)
        ]
        with ThreadPoolExecutor() as pool:
            pictures = list(pool.map(_decode, named))
        photographs: list[Pixels] = []
        held_out: list[Pixels] = []
        for (name, _), picture in zip(named, pictures, strict=True):
            (held_out if is_held_out(name) else photographs).append(picture)
        if not photographs:
            raise ValueError("no photographs to train on were found")
        return cls(photographs, held_out)
