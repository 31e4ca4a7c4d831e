"""The images that an evaluation runs over."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import CtcError, InputError
from ..image.open import open_image
from ..image.source import SourceImage, source_image

SUFFIXES = {".png", ".ppm", ".bmp", ".tif", ".tiff", ".webp"}
"""Formats that are lossless as a rule: images that were JPEG before say little about another codec."""


@dataclass(frozen=True)
class EvaluationImage:
    """An image of an evaluation.

    name: for people, unique in its set.
    path: of its file.
    width: in pixels.
    height: in pixels.
    sha256: of the file's bytes, for caches.
    """

    name: str
    path: Path
    width: int
    height: int
    sha256: str


def image_files(folder: Path) -> list[Path]:
    """The images of a folder, sorted by name. Raises InputError if there are none."""
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"{folder}: no images ({' '.join(sorted(SUFFIXES))}; name others one by one)")
    return files


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_image(path: Path) -> SourceImage:
    """An image file as 8-bit RGB, transparency on white. Raises InputError, which names the file."""
    try:
        return source_image(open_image(path.read_bytes()), background="white")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except CtcError as error:
        raise InputError(f"{path}: {error}") from None


def evaluation_images(places: Iterable[Path]) -> list[EvaluationImage]:
    """The images in folders, and files by themselves. Raises InputError if one is not an image."""
    files = [file for place in places for file in (image_files(place) if place.is_dir() else [place])]
    files = list(dict.fromkeys(file.resolve() for file in files))
    names = [file.stem for file in files]
    images = []
    for file in files:
        height, width = read_image(file).pixels.shape[:2]
        name = file.stem if names.count(file.stem) == 1 else f"{file.parent.name}/{file.name}"
        images.append(EvaluationImage(name, file, width, height, file_digest(file)))
    return images
