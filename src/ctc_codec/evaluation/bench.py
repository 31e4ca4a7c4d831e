"""Times of the codec's parts on one 768x512 photograph-like image, in a warm process.

python -m ctc_codec.evaluation.bench [--image FILE]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
import numpy as np
import torch
from PIL import Image

from .. import _codec, _latent, _stream
from .._decoder import Decoder
from .._image import open_image, source_image
from .._model import CodecModel, load_model

_T = TypeVar("_T")
_RUNS = 7


def _timed(label: str, function: Callable[[], _T]) -> _T:
    result = function()
    times = []
    for _ in range(_RUNS):
        started = time.perf_counter()
        result = function()
        times.append(1000 * (time.perf_counter() - started))
    click.echo(f"{label:42s} {min(times):8.1f} {statistics.median(times):8.1f} {max(times):8.1f}")
    return result


def synthetic_image(width: int = 768, height: int = 512) -> Image.Image:
    """Colour noise with a 1/f^1.2 amplitude spectrum, which has about a photograph's statistics."""
    rng = np.random.default_rng(7)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    shape = (fy.size, fx.size, 3)
    spectrum = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    spectrum /= np.maximum(np.hypot(fy, fx), 1 / width)[..., None] ** 1.2
    noise = np.fft.irfft2(spectrum, s=(height, width), axes=(0, 1))
    deviation = noise.std(axis=(0, 1))
    noise = noise / np.where(deviation > 1e-6, deviation, np.inf) * 45  # one pixel has none: grey
    mixed = 128 + 0.9 * noise[..., :1] + 0.35 * noise
    return Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8))


def _fed(model: CodecModel, data: bytes) -> Image.Image:
    decoder = Decoder(weights=model, device="cpu")
    for at in range(len(data)):
        decoder.feed(data[at : at + 1])
    return decoder.image()


@click.command()
@click.option("--image", type=click.Path(exists=True, path_type=Path), help="Default: synthetic.")
def main(image: Path | None) -> None:
    """Print minimum, median and maximum milliseconds of every part."""
    picture = open_image(image.read_bytes()) if image else synthetic_image()
    source = source_image(picture)
    height, width = source.pixels.shape[:2]
    model, device = load_model(), torch.device("cpu")
    click.echo(f"{width}x{height}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    click.echo(f"{'milliseconds':42s} {'min':>8s} {'median':>8s} {'max':>8s}")
    y, z = _timed("analysis and hyper-analysis", lambda: _latent.analyse(model, source.pixels, device))
    h, w = y.shape[1:]
    level, mu = _timed("hyper-synthesis (exact)", lambda: _stream.entropy_parameters(model, z, h, w))
    residuals = _stream.residuals(model, y, mu, level)
    payload = _timed(
        "entropy encode, CRR included",
        lambda: _stream.encode_planes(model, z, residuals, level, model.coding),
    )
    decoded = _timed(
        "entropy decode and hyper-synthesis, complete",
        lambda: _stream.decode_stream(model, width, height, payload, True, model.coding),
    )
    _timed(
        "entropy decode and hyper-synthesis, cut",
        lambda: _stream.decode_stream(model, width, height, payload[:-1], False, model.coding),
    )
    _timed("synthesis", lambda: _latent.synthesise(model, decoded, width, height, device))
    data = _timed("encode, whole", lambda: _codec.encode(picture, weights=model, device="cpu"))
    _timed(
        "encode without quality table",
        lambda: _codec.encode(picture, weights=model, device="cpu", quality_table=False),
    )
    _timed("decode, whole", lambda: _codec.decode(data, weights=model, device="cpu"))
    _timed("decode, fed byte by byte", lambda: _fed(model, data))
    _timed("thumbnail", lambda: _codec.thumbnail(data, weights=model))
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "a.ctc", Path(folder) / "b.ctc"
        path.write_bytes(data)
        command = [sys.executable, "-m", "ctc_codec.cli", "truncate", str(path), "-f", "-q"]
        _timed(
            "ctc truncate, as a process",
            lambda: subprocess.run([*command, "--bpp", "0.2", "-o", str(out)], check=True),
        )
    click.echo(
        f"{8 * len(data) / (width * height):.3f} bpp, {decoded.trits} trits in {decoded.planes} planes"
    )


if __name__ == "__main__":
    main()
