"""Artefacts that PSNR does not show: pictures beside JPEG 2000's at the same bytes, and figures for them.

    python tools/artefacts.py FOLDER --picture FILE.jpg

Figures, means over the images (JPEG 2000's in brackets), of images cut to sides of which every level of the
wavelet has an odd number:

- grid: mean absolute step of the error between neighbouring pixels across the borders of 4x4 blocks, the
  positions of the synthesis network, over that everywhere else.
- colour shift: mean error of red, green and blue over an image, the largest of the three, in grey levels.
- border: PSNR of the outermost 8 pixels less that of the rest, in dB.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from PIL import Image

from ctc_codec.codec.model import default_weights
from ctc_codec.evaluation.codecs import Ctc
from ctc_codec.evaluation.images import image_files, read_image
from ctc_codec.evaluation.peers import LayeredJpeg2000
from ctc_codec.image.source import psnr
from ctc_codec.image.transparency import Pixels
from ctc_codec.synthesis.network import SCALE
from ctc_codec.transform.lifting import LEVELS
from montage import montage, panel

RATES = (0.1, 0.2, 0.5)
_CROP = (384, 256)
_BORDER = 8
_EVERY = 10
_ODD = 1 << LEVELS


@dataclass(frozen=True)
class Artefacts:
    """Figures of one decoded image, see the module.

    grid: a ratio.
    colour: grey levels.
    border: dB.
    """

    grid: float
    colour: float
    border: float


def _grid(error: np.ndarray, side: int) -> float:
    """Steps of the error [h, w, 3] across borders of blocks, over the others' mean."""
    inside, across = [], []
    for axis in (0, 1):
        step = np.abs(np.diff(error, axis=axis)).mean(axis=(1 - axis, 2))
        at = np.arange(1, len(step) + 1) % side == 0
        across.append(step[at])
        inside.append(step[~at])
    return float(np.concatenate(across).mean() / np.concatenate(inside).mean())


def artefacts(original: Pixels, decoded: Pixels) -> Artefacts:
    """Figures for a decoded image, both uint8 [h, w, 3] of more than 16 pixels a side."""
    error = decoded.astype(np.float64) - original
    square = (error**2).mean(axis=2)
    inner = square[_BORDER:-_BORDER, _BORDER:-_BORDER]
    outer = (square.sum() - inner.sum()) / (square.size - inner.size)
    return Artefacts(
        _grid(error, SCALE),
        float(np.abs(error.mean(axis=(0, 1))).max()),
        float(10 * np.log10(inner.mean() / outer)),
    )


def _centre(pixels: Pixels) -> Image.Image:
    width, height = _CROP
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return Image.fromarray(pixels).crop((left, top, left + width, top + height))


def _panels(name: str, original: Pixels, weights: Path) -> list[Image.Image]:
    """Ours and JPEG 2000's at every rate, in turn."""
    count = original.shape[0] * original.shape[1]
    cuts = [s for s in Ctc(weights, RATES).streams(original) if s.asked is not None]
    layers = LayeredJpeg2000([8 * cut.nbytes / count for cut in cuts]).streams(original)
    result = []
    for cut, layer in zip(cuts, layers, strict=True):
        for label, stream in (("ctc", cut), ("JPEG 2000", layer)):
            pixels = stream.decode()
            caption = f"{name}  {label}  {stream.nbytes} bytes  {psnr(original, pixels):.2f} dB"
            result.append(panel(_centre(pixels), caption))
    return result


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path),
              help=f"Every {_EVERY}th image's centre at {RATES} bpp beside JPEG 2000's.")  # fmt: skip
@click.option("--weights", type=click.Path(exists=True, path_type=Path), help="Default: the built-in ones.")
def main(folder: Path, picture: Path | None, weights: Path | None) -> None:
    """Measure artefacts on the images in FOLDER, and show some."""
    weights = weights or default_weights()
    files = image_files(folder)
    rows: dict[tuple[float, str], list[Artefacts]] = {}
    for path in files:
        pixels = read_image(path).pixels
        sides = [(side - 1) // _ODD * _ODD + 1 for side in pixels.shape[:2]]
        odd = np.ascontiguousarray(pixels[: sides[0], : sides[1]])
        for codec in (Ctc(weights, RATES), LayeredJpeg2000(RATES)):
            for stream in codec.streams(odd):
                if stream.asked is not None:
                    found = artefacts(odd, stream.decode())
                    rows.setdefault((stream.asked, codec.name), []).append(found)
    click.echo(f"{'bpp':>5s}  {'grid':>15s}  {'colour':>15s}  {'border dB':>15s}")
    for rate in RATES:
        ours, theirs = (
            np.mean([list(vars(a).values()) for a in rows[rate, name]], axis=0)
            for name in ("ctc", "jpeg2000-layered")
        )
        cells = [f"{a:7.2f} ({b:5.2f})" for a, b in zip(ours, theirs, strict=True)]
        click.echo(f"{rate:5g}  " + "  ".join(f"{cell:>15s}" for cell in cells))
    if picture is not None:
        panels = [p for path in files[::_EVERY] for p in _panels(path.stem, read_image(path).pixels, weights)]
        drawn = montage(panels, 2 * len(RATES))
        drawn.save(picture, optimize=True, quality=92, subsampling=0)  # a PNG is three times as large
        click.echo(f"{picture}: {len(panels)} pictures")


if __name__ == "__main__":
    main()
