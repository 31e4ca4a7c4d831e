"""The main job on a real photograph: encode once, cut, decode, and what each cut achieved.

    python tools/demo.py [--image FILE] [--output FOLDER]

Needs scikit-image (the ``demo`` extra) for its photograph when no image is given. Runs the ``ctc``
command itself, as a user would.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import numpy as np
from PIL import Image

from ctc_codec import info
from ctc_codec.image.source import psnr
from montage import montage, panel

CUTS = (0.03, 0.1, 0.2, 0.5, 1.0, None)
_PANEL = 384


def _photograph() -> Image.Image:
    from skimage import data

    return Image.fromarray(data.coffee())


def _shown(image: Image.Image) -> Image.Image:
    height = round(image.height * _PANEL / image.width)
    return image.convert("RGB").resize((_PANEL, height), Image.Resampling.LANCZOS)


def _ctc(*arguments: str) -> None:
    click.echo("$ ctc " + " ".join(arguments))
    subprocess.run([sys.executable, "-m", "ctc_codec.cli", *arguments], check=True)


@click.command()
@click.option("--image", type=click.Path(exists=True, path_type=Path), help="Default: a photograph.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=Path("demo"))
def main(image: Path | None, output: Path) -> None:
    """Encode one photograph, decode prefixes of the one file, print and draw the result."""
    output.mkdir(parents=True, exist_ok=True)
    original = output / "original.png"
    (Image.open(image) if image else _photograph()).convert("RGB").save(original)
    pixels = np.asarray(Image.open(original))
    whole = output / "photo.ctc"
    _ctc("encode", str(original), "-o", str(whole), "-f")
    _ctc("info", str(whole))
    rows, panels = [], []
    for rate in CUTS:
        part, picture = whole, output / "whole.png"
        if rate is not None:
            part, picture = output / f"cut-{rate}.ctc", output / f"cut-{rate}.png"
            _ctc("truncate", str(whole), "--bpp", str(rate), "-o", str(part), "-f")
        _ctc("decode", str(part), "-o", str(picture), "-f")
        decoded = Image.open(picture)
        found, quality = info(part.read_bytes()), psnr(pixels, np.asarray(decoded))
        rows.append((found.nbytes, found.bpp, quality))
        panels.append(panel(_shown(decoded), f"{found.nbytes} bytes  {found.bpp:.3f} bpp  {quality:.2f} dB"))
    montage(panels, 3).save(output / "progressive.png")
    click.echo(
        f"\n{'bytes':>8s} {'bpp':>8s} {'PSNR dB':>8s}   (original PNG: {original.stat().st_size} bytes)"
    )
    for count, bpp, quality in rows:
        click.echo(f"{count:8d} {bpp:8.4f} {quality:8.2f}")
    click.echo(f"\n{output / 'progressive.png'}: the cuts side by side")


if __name__ == "__main__":
    main()
