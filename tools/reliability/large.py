"""Time and memory of the command on pictures of growing size.

    cd tools && python -m reliability.large [IMAGE] [--megapixels 0.4,2,12,100] [-o FILE.json]

Each picture is made of mirrored copies of an image file, or of a synthetic one, and written as a PNG. Encoded
by ``ctc encode`` and decoded to a PNG by ``ctc decode``, each in a process of its own, start-up and image
files included; also a tenth of the file, and a thumbnail of it.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from bench.pictures import mosaic, png_of
from ctc_codec.evaluation.resources import measured
from reliability.record import record, write

_CTC = [sys.executable, "-m", "ctc_codec.cli"]
_NO_LIMIT = ["--max-pixels", "0"]
_STEPS = ("encode", "decode", "a tenth", "thumbnail")


def measure(image: Image.Image, megapixels: float, folder: Path) -> dict[str, Any]:
    """Seconds and peak memory of every step on a picture of so many million pixels.

    Raises CalledProcessError.
    """
    original, coded, decoded = (folder / name for name in ("a.png", "a.ctc", "b.png"))
    large = mosaic(image, megapixels)
    large.save(original, compress_level=1)
    row: dict[str, Any] = {"megapixels": round(large.width * large.height / 1e6, 3)}
    del large
    for step in _STEPS:
        if step == "encode":
            words = ["encode", str(original), "-o", str(coded)]
        else:
            how = {"decode": [], "a tenth": ["--bytes", str(coded.stat().st_size // 10)]}
            words = ["decode", *how.get(step, ["--thumbnail"]), str(coded), "-o", str(decoded)]
        seconds, peak = measured([*_CTC, *words, "--quiet", "-f", *_NO_LIMIT])
        row[step] = {"seconds": round(seconds, 2), "peak_mb": round(peak / 1e6)}
    row["bpp"] = round(8e-6 * coded.stat().st_size / row["megapixels"], 3)
    return row


def lines(content: dict[str, Any]) -> list[str]:
    """A record as a table."""
    rows = [
        f"| {row['megapixels']:g} | {row['bpp']:.2f} | "
        + " | ".join(f"{row[step]['seconds']:.1f} s, {row[step]['peak_mb']:,} MB" for step in _STEPS)
        + " |"
        for row in content["rows"]
    ]
    return [f"| Mpixel | bpp | {' | '.join(_STEPS)} |", f"|{'---|' * (2 + len(_STEPS))}", *rows]


def main(arguments: list[str]) -> int:
    """Measure, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image", nargs="?", type=Path, help="default: a synthetic one")
    parser.add_argument("--megapixels", default="0.4,2,12,100", help="sizes (default: 0.4,2,12,100)")
    parser.add_argument("-o", dest="output", type=Path, help=".json")
    chosen = parser.parse_args(arguments)
    image = Image.open(io.BytesIO(png_of(chosen.image)))
    rows = []
    for size in map(float, chosen.megapixels.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(image, size, Path(folder)))
    content = record({}, rows)
    print("\n".join(lines(content)))
    if chosen.output:
        write(chosen.output, content)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
