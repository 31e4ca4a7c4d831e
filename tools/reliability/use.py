"""The library and the Pillow plugin on one file, as a program of their own: ``use.py WAY FILE``.

An error of the package's tree is one line and exit code 1, as of the command.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image, UnidentifiedImageError

import ctc_codec

_PIECE = 512
"""Bytes that are fed at a time; one by one of small files."""


def _decode(path: Path) -> None:
    ctc_codec.decode(path.read_bytes())


def _thumbnail(path: Path) -> None:
    ctc_codec.thumbnail(path.read_bytes())


def _feed(path: Path) -> None:
    data, decoder = path.read_bytes(), ctc_codec.Decoder()
    piece = 1 if len(data) <= 1 << 15 else _PIECE
    for start in range(0, len(data), piece):
        decoder.feed(data[start : start + piece])
    decoder.finish()
    decoder.image()


def _open(path: Path) -> Image.Image:
    ctc_codec.register_pillow()
    return Image.open(path)


def _plugin(path: Path) -> None:
    with _open(path) as image:
        image.getexif()
        image.load()


def _plugin_thumbnail(path: Path) -> None:
    with _open(path) as image:
        image.thumbnail((8, 8))


def _plugin_verify(path: Path) -> None:
    with _open(path) as image:
        image.verify()


def _weights(path: Path) -> None:
    ctc_codec.load_model(path)


def _image(path: Path) -> None:
    with Image.open(path) as image:
        ctc_codec.encode(image)


WAYS: dict[str, Callable[[Path], None]] = {
    "library decode": _decode,
    "library thumbnail": _thumbnail,
    "library feed": _feed,
    "plugin load": _plugin,
    "plugin thumbnail": _plugin_thumbnail,
    "plugin verify": _plugin_verify,
    "library load_model": _weights,
    "library encode": _image,
}


def main(way: str, name: str) -> int:
    """Use a file in a way, and return the exit code."""
    try:
        WAYS[way](Path(name))
    except (ctc_codec.CtcError, UnidentifiedImageError, OSError) as error:
        print(f"ctc: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except Image.DecompressionBombError as error:
        print(f"ctc: {error}", file=sys.stderr)
        return 1
    except MemoryError:
        print("ctc: not enough memory", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
