"""Writes the golden files with the released weights. Never run by the tests.

    python tools/golden.py

is for after a change of the format (with a new version number), of the weights' exact part, or of what an
encoder decides. Pictures are made of integers, so they are the same everywhere.
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctc_codec import CodecModel, Decoder, Header, encode, load_model
from ctc_codec.image.source import SourceImage

FOLDER = Path(__file__).parents[1] / "tests" / "data" / "format"

Samples = npt.NDArray[np.uint8]


def noise(width: int, height: int) -> Samples:
    """Every sample by chance, uint8 [height, width, 3]."""
    data = random.Random(width).randbytes(3 * width * height)
    return np.frombuffer(data, np.uint8).reshape(height, width, 3)


def scene(width: int, height: int) -> Samples:
    """Shades, a texture, a disc, a bar and some noise, uint8 [height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    light = 50 + 120 * y // height + 2 * np.abs((3 * x + y) % 46 - 23)
    light += 24 * (x // 2 % 2) * (4 * y > 3 * height)
    light[(3 * x - 2 * width) ** 2 + (3 * y - height) ** 2 < height**2] += 60
    light[:, width // 7 : width // 5] -= 45
    tint = np.stack((light + 30 * x // width, light, light + 20 - 40 * y // height), axis=2)
    return (tint + noise(width, height) // 32).clip(0, 255).astype(np.uint8)


def note(width: int, height: int) -> Samples:
    """Paper that is empty but for a corner, uint8 [height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    ink = (x > width * 3 // 4) & (y < height // 2) & (x * y // 3 % 2 == 0)
    return np.repeat((235 - 200 * ink)[..., None], 3, axis=2).astype(np.uint8)


@dataclass(frozen=True)
class Golden:
    """A picture and how it is encoded."""

    source: SourceImage
    options: dict[str, Any] = field(default_factory=dict)


def _grey(pixels: Samples) -> SourceImage:
    return SourceImage(np.repeat(pixels[..., :1], 3, axis=2), True)


def _with_extras(width: int, height: int) -> SourceImage:
    y, x = np.mgrid[0:height, 0:width]
    alpha = (400 - (x - width // 2) ** 2 - (y - height // 2) ** 2).clip(0, 255).astype(np.uint8)
    exif, xmp = b"MM\0*\0\0\0\x08\0\0\0\0\0\0", b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    return SourceImage(scene(width, height), False, [], alpha, exif, xmp)


def golden() -> dict[str, Golden]:
    """By name; small, so that Python integers decode them in seconds."""
    return {
        "colour": Golden(SourceImage(scene(48, 32), False), {"effort": 6, "quality": 100}),
        "grey": Golden(_grey(scene(33, 17))),
        "odd": Golden(SourceImage(scene(45, 27), False)),
        "one-pixel": Golden(SourceImage(scene(1, 1), False)),
        "wide": Golden(
            SourceImage(scene(1100, 1), False), {"quality": 60}
        ),  # two tiles, two windows of a look
        "tables": Golden(SourceImage(scene(90, 70), False), {"context": False}),
        "slices": Golden(
            SourceImage(scene(40, 36) // 2 + noise(40, 36) // 2, False), {"effort": 9, "quality": 100}
        ),
        # CRR does not look at some cells.
        "blank": Golden(SourceImage(note(90, 44), False), {"quality": 70}),
        "extras": Golden(_with_extras(40, 30), {"quality": 100}),
        "noise": Golden(SourceImage(noise(24, 20), False), {"quality": 95, "quality_table": False}),
    }


def cuts(data: bytes) -> list[int]:
    """Places to cut a file: after its header, in its low band, in planes, in its last word, and nowhere."""
    start = Header.parse(data)[1]
    size = len(data) - start
    places = {0, 9, *(size * i // 5 for i in range(1, 5)), size - 3, size}
    return sorted(start + place for place in places if place <= size)


def latent_sha256(data: bytes, model: CodecModel) -> str:
    """Hash of what a file, or a prefix of one, tells of the latent."""
    decoder = Decoder(weights=model)
    decoder.feed(data)
    decoder.finish()
    return decoder.latent().sha256()


def main() -> None:
    """Write the files, the hashes of their latents, and the extras that they keep."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    model = load_model()
    hashes = {}
    for name, each in golden().items():
        data = encode(each.source, weights=model, **each.options)
        (FOLDER / f"{name}.ctc").write_bytes(data)
        hashes[name] = {str(cut): latent_sha256(data[:cut], model) for cut in cuts(data)}
        header = Header.parse(data)[0]
        print(f"{name:10s} {len(data):6d} bytes, {header.planes} planes, {header.slices} slices")
    (FOLDER / "hashes.json").write_text(json.dumps(hashes, indent=1) + "\n")
    source = golden()["extras"].source
    assert source.alpha is not None
    kept = {
        "alpha": hashlib.sha256(source.alpha.tobytes()).hexdigest(),
        "exif": source.exif.hex(),
        "xmp": source.xmp.hex(),
    }
    (FOLDER / "extras.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
