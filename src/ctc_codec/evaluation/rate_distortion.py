"""Rate and distortion of prefixes: each image is encoded once, its one file cut at every rate.

python -m ctc_codec.evaluation.rate_distortion FOLDER [--json FILE]
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
import numpy as np
from PIL import Image

from .._codec import decode, encode
from .._container import truncate
from .._image import psnr, source_image
from .._model import CodecModel, load_model

RATES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.4)
SUFFIXES = {".png", ".ppm", ".bmp", ".tif", ".tiff", ".webp"}


def image_files(folder: Path) -> list[Path]:
    """The images of a folder, sorted by name. Raises ClickException if there are none."""
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if not files:
        raise click.ClickException(f"{folder}: no images")
    return files


def measure(
    image: Image.Image, rates: Sequence[float | None], model: CodecModel
) -> list[tuple[float, float]]:
    """(bpp of the file's bytes, PSNR in dB) of one encoding cut at each rate; None is the whole file.

    A rate beyond the end of the file counts with the whole file.
    """
    source = source_image(image)
    height, width = source.pixels.shape[:2]
    data = encode(source, weights=model)
    points = []
    for rate in rates:
        part = data if rate is None else truncate(data, bpp=rate)
        pixels = np.asarray(decode(part, weights=model).convert("RGB"))
        points.append((8 * len(part) / (width * height), psnr(source.pixels, pixels)))
    return points


def measure_files(files: Iterable[Path], model: CodecModel) -> dict[str, list[tuple[float, float]]]:
    """The points of each image at RATES and of its whole file, by the file's name."""
    results = {}
    for path in files:
        with Image.open(path) as image:
            results[path.name] = measure(image, (*RATES, None), model)
    return results


def mean_curve(folder: Path, weights: str | None) -> list[tuple[float, float]]:
    """Mean bpp and mean PSNR over the images of a folder at RATES and of the whole files."""
    points = list(measure_files(image_files(folder), load_model(weights)).values())
    return [(float(bpp), float(quality)) for bpp, quality in np.array(points).mean(axis=0)]


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--weights", type=click.Path(), help="Weights file (default: the built-in one).")
@click.option("--json", "output", type=click.Path(path_type=Path), help="Also write the numbers there.")
def main(folder: Path, weights: str | None, output: Path | None) -> None:
    """Mean PSNR of the images in FOLDER at some rates, from prefixes of one file each."""
    files = image_files(folder)
    model = load_model(weights)
    with click.progressbar(files, label="images") as progress:
        results = measure_files(progress, model)
    means = np.array(list(results.values())).mean(axis=0)
    click.echo(f"{len(files)} images, weights {model.fingerprint.hex()}")
    click.echo("| asked bpp | file bpp | PSNR dB |\n|---|---|---|")
    for rate, (bpp, quality) in zip((*RATES, None), means.tolist(), strict=True):
        click.echo(f"| {'whole' if rate is None else rate} | {bpp:.4f} | {quality:.2f} |")
    if output is not None:
        text = {"weights": model.fingerprint.hex(), "rates": RATES, "points": results}
        output.write_text(json.dumps(text, indent=1) + "\n")


if __name__ == "__main__":
    main()
