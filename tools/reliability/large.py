"""Time and memory of the command on pictures of growing size.

    cd tools && python -m reliability.large [IMAGE] [--megapixels 0.4,2,12,100] [-o FILE.json]

Each picture is made of mirrored copies of an image file, or of a synthetic one, and written as a PNG. Encoded
by ``ctc encode`` and decoded to a PNG by ``ctc decode``, each in a process of its own, start-up and image
files included; also a tenth of the file, and a thumbnail of it. The exit code is 1 if one of these takes more
than BYTES bytes a pixel beside BASE_MB.
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
from reliability.record import record, write
from reliability.watched import CTC, DONE, watched

_NO_LIMIT = ["--max-pixels", "0"]
_SECONDS = 6 * 3600
"""Limit of a step."""
BYTES, BASE_MB = 60, 200
"""What a step may take: bytes of memory a pixel, beside the megabytes that a process takes for small pictures
too."""
_STEPS = ("encode", "decode", "a tenth", "thumbnail")


def measure(image: Image.Image, megapixels: float, folder: Path) -> dict[str, Any]:
    """Seconds and peak memory of every step on a picture of so many million pixels.

    Raises RuntimeError if one fails.
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
        done = watched([*CTC, *words, "--quiet", "-f", *_NO_LIMIT], folder, seconds=_SECONDS)
        if done.outcome != DONE:
            raise RuntimeError(f"{step} of {megapixels:g} Mpixel: {done.outcome}: {done.said}")
        row[step] = {"seconds": round(done.seconds, 2), "peak_mb": round(done.peak / 1e6)}
    row["bpp"] = round(8e-6 * coded.stat().st_size / row["megapixels"], 3)
    return row


def bytes_per_pixel(row: dict[str, Any]) -> float:
    """Memory of the step that takes most, beside BASE_MB."""
    peak = max(row[step]["peak_mb"] for step in _STEPS)
    return max(peak - BASE_MB, 0) / float(row["megapixels"])


def lines(content: dict[str, Any]) -> list[str]:
    """A record as a table and a sentence."""
    rows = [
        f"| {row['megapixels']:g} | {row['bpp']:.2f} | "
        + " | ".join(f"{row[step]['seconds']:.1f} s, {row[step]['peak_mb']:,} MB" for step in _STEPS)
        + " |"
        for row in content["rows"]
    ]
    largest = max(content["rows"], key=lambda row: float(row["megapixels"]))
    return [
        f"| Mpixel | bpp | {' | '.join(_STEPS)} |",
        f"|{'---|' * (2 + len(_STEPS))}",
        *rows,
        "",
        f"The largest picture took {bytes_per_pixel(largest):.0f} bytes a pixel beside {BASE_MB} MB; more "
        f"than {BYTES} are a defect.",
    ]


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
    return int(any(bytes_per_pixel(row) > BYTES for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
