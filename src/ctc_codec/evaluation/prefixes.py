"""The promise of the format, checked on photographs: cuts at random bytes.

    python -m ctc_codec.evaluation.prefixes FOLDER [--cuts 20]

Every cut must decode to the right size, to states that are true prefixes of the whole file's, and to no less
quality than any shorter cut (up to a tolerance).
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import torch

from .._codec import decode_latent, encode
from .._device import resolve_device
from .._header import Header
from .._image import psnr
from .._latent import synthesise
from .._model import load_model
from .._planes import TreeTables
from .images import image_files, read_image


def is_prefix(node: np.ndarray, later: np.ndarray, tables: TreeTables) -> bool:
    """Whether every state (int32 [n]) is that of ``later`` or one of its ancestors in the tree."""
    parent = np.arange(len(tables.children))
    inner = np.flatnonzero(tables.inner)
    for trit in range(3):
        parent[tables.children[inner] + trit] = inner
    matched = node == later
    while (parent[later] != later).any():
        later = parent[later]
        matched |= node == later
    return bool(matched.all())


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--cuts", type=click.IntRange(min=1), default=20, show_default=True, help="Per image.")
@click.option("--tolerance", type=float, default=0.05, show_default=True, help="dB that more bytes may lose.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--weights", type=click.Path(), help="Weights file (default: the built-in one).")
def main(folder: Path, cuts: int, tolerance: float, seed: int, weights: str | None) -> None:
    """Cut the file of every image in FOLDER at random bytes; exit code 1 if a promise is broken."""
    model, device = load_model(weights), resolve_device("auto")
    rng = np.random.default_rng(seed)
    tried, broken, worst = 0, [], 0.0
    for path in image_files(folder):
        source = read_image(path)
        data = encode(source, weights=model)
        whole = decode_latent(data, weights=model)[1]
        places = np.sort(rng.integers(Header.parse(data)[1], len(data), cuts)).tolist()
        best = -np.inf
        for cut in [*places, len(data)]:
            header, decoded = decode_latent(data[:cut], weights=model)
            pixels = synthesise(model, decoded, header.width, header.height, device)
            quality = psnr(source.pixels, pixels)
            tried += 1
            if pixels.shape != source.pixels.shape:
                broken.append(f"{path.name} at byte {cut}: wrong size")
            if decoded.z_complete and not is_prefix(decoded.node, whole.node, model.tables):
                broken.append(f"{path.name} at byte {cut}: not a prefix of the whole")
            if quality < best - tolerance:
                broken.append(f"{path.name} at byte {cut}: {best - quality:.2f} dB worse than a shorter cut")
            worst, best = max(worst, best - quality), max(best, quality)
    click.echo(f"{tried} cuts, {len(broken)} broken promises, largest loss with more bytes {worst:.3f} dB")
    for line in broken:
        click.echo(line, err=True)
    raise SystemExit(bool(broken))


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
