"""The promise of the format, checked on photographs: cuts at random bytes.

    python tools/prefixes.py FOLDER [--cuts 20]

Every cut must decode to the right size, to a latent that the whole file's confirms, and to no less quality
than any shorter cut (up to a tolerance).
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from ctc_codec.codec.decoder import DecodedLatent, Decoder
from ctc_codec.codec.encoder import encode
from ctc_codec.codec.model import CodecModel, load_model
from ctc_codec.container.header import Header
from ctc_codec.evaluation.images import image_files, read_image
from ctc_codec.image.source import psnr
from ctc_codec.planes.trits import at_plane

_Values = npt.NDArray[np.signedinteger]
_Flags = npt.NDArray[np.bool_]


def _confirmed(
    value: _Values, known: _Flags, plane: int, later: _Values, later_known: _Flags, later_plane: int
) -> bool:
    """Whether the known part of elements at a plane agrees with a later state, there or at a finer plane."""
    value, later = value.astype(np.int32), later.astype(np.int32)
    steps = plane - later_plane
    if steps < 0:
        return False
    same = np.where(known, at_plane(later, steps) == value, at_plane(later, steps + 1) * 3 == value)
    return bool((same & (~known | later_known | (steps > 0))).all())


def is_prefix(latent: DecodedLatent, later: DecodedLatent) -> bool:
    """Whether a latent agrees in every element with a later one of the same file, or knows less of it."""
    a, b = latent.state, later.state
    details = _confirmed(a.value, a.known, a.plane, b.value, b.known, b.plane)
    if not latent.low_held:
        return details
    return details and _confirmed(a.low, a.low_known, a.low_plane, b.low, b.low_known, b.low_plane)


def _decoded(data: bytes, model: CodecModel) -> Decoder:
    decoder = Decoder(weights=model)
    decoder.feed(data)
    decoder.finish()
    return decoder


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--cuts", type=click.IntRange(min=1), default=20, show_default=True, help="Per image.")
@click.option("--tolerance", type=float, default=0.05, show_default=True, help="dB that more bytes may lose.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--weights", type=click.Path(), help="Weights file (default: the built-in one).")
def main(folder: Path, cuts: int, tolerance: float, seed: int, weights: str | None) -> None:
    """Cut the file of every image in FOLDER at random bytes; exit code 1 if a promise is broken."""
    model = load_model(weights)
    rng = np.random.default_rng(seed)
    tried, broken, worst = 0, [], 0.0
    for path in image_files(folder):
        source = read_image(path)
        data = encode(source, weights=model)
        whole = _decoded(data, model).latent()
        places = np.sort(rng.integers(Header.parse(data)[1], len(data), cuts)).tolist()
        best = -np.inf
        for cut in [*places, len(data)]:
            decoder = _decoded(data[:cut], model)
            pixels = np.asarray(decoder.image().convert("RGB"))
            tried += 1
            if pixels.shape != source.pixels.shape:
                broken.append(f"{path.name} at byte {cut}: wrong size")
                continue
            if not is_prefix(decoder.latent(), whole):
                broken.append(f"{path.name} at byte {cut}: not a prefix of the whole")
            quality = psnr(source.pixels, pixels)
            if quality < best - tolerance:
                broken.append(f"{path.name} at byte {cut}: {best - quality:.2f} dB worse than a shorter cut")
            worst, best = max(worst, best - quality), max(best, quality)
    click.echo(f"{tried} cuts, {len(broken)} broken promises, largest loss with more bytes {worst:.3f} dB")
    for line in broken:
        click.echo(line, err=True)
    raise SystemExit(bool(broken))


if __name__ == "__main__":
    main()
