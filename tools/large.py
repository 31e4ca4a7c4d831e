"""Time and memory of the command on images of growing size.

    python tools/large.py FOLDER [--megapixels 0.4,2,6,24,100] [-o FILE.json]

Each image is a mosaic of the photographs in FOLDER, written as a PNG, encoded by ``ctc encode`` and decoded
to a PNG by ``ctc decode``, each in a process of its own, start-up and image files included.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from pathlib import Path

import click
from PIL import Image

from ctc_codec.evaluation.images import image_files, read_image
from ctc_codec.evaluation.resources import measured

_TILE = (768, 512)


def mosaic(photographs: list[Image.Image], megapixels: float) -> Image.Image:
    """An image of mode RGB, three to two, of so many million pixels; photographs side by side."""
    height = round(math.sqrt(megapixels * 1e6 / 1.5))
    width = round(megapixels * 1e6 / height)
    out = Image.new("RGB", (width, height))
    places = [(x, y) for y in range(0, height, _TILE[1]) for x in range(0, width, _TILE[0])]
    for i, place in enumerate(places):
        out.paste(photographs[i % len(photographs)], place)
    return out


def _photograph(path: Path) -> Image.Image:
    image = Image.fromarray(read_image(path).pixels)
    return (image if image.width > image.height else image.transpose(Image.Transpose.ROTATE_90)).resize(_TILE)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--megapixels", default="0.4,2,6,24,100", show_default=True, help="Sizes, with commas.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="JSON.")
def main(folder: Path, megapixels: str, output: Path | None) -> None:
    """Print a table of seconds and peak memory."""
    photographs = [_photograph(path) for path in image_files(folder)]
    rows = []
    click.echo("| Mpixel | bpp | encode s | Mpixel/s | peak MB | decode s | Mpixel/s | peak MB |")
    click.echo("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for size in map(float, megapixels.split(",")):
        with tempfile.TemporaryDirectory() as folder_name:
            original, coded, decoded = (Path(folder_name, name) for name in ("a.png", "a.ctc", "b.png"))
            image = mosaic(photographs, size)
            image.save(original, compress_level=1)
            pixels = image.width * image.height / 1e6
            del image
            ctc = [sys.executable, "-m", "ctc_codec.cli"]
            encode = measured([*ctc, "encode", "--quiet", str(original), "-o", str(coded)])
            decode = measured([*ctc, "decode", "--quiet", str(coded), "-o", str(decoded)])
            bpp = 8e-6 * coded.stat().st_size / pixels
        row = {"megapixels": pixels, "bpp": bpp}
        for name, (seconds, peak) in (("encode", encode), ("decode", decode)):
            row |= {f"{name}_s": seconds, f"{name}_mb": peak / 1e6}
        rows.append(row)
        cells = [f"{pixels:.1f}", f"{bpp:.2f}"]
        for seconds, peak in (encode, decode):
            cells += [f"{seconds:.1f}", f"{pixels / seconds:.2f}", f"{peak / 1e6:.0f}"]
        click.echo(f"| {' | '.join(cells)} |")
    if output is not None:
        output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
