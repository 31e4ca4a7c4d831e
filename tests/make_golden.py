"""Writes the golden files. Never run by the tests.

    python tests/make_golden.py format     after a change of the format (with a new version number)
    python tests/make_golden.py extras     after a change of the extras: their file, with the same tiny model
    python tests/make_golden.py release    after a change of the released weights

``format`` makes a tiny model (random hyperprior, so that every part of the entropy model is used) and small
files with it: they prove that the format stays what it was, whatever weights are released. ``release``
makes one file with the released weights.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ctc_codec import CodecModel, decode_latent, encode, load_model
from ctc_codec._config import ModelConfig
from ctc_codec._header import Coding
from ctc_codec._image import SourceImage
from ctc_codec.evaluation.bench import synthetic_image

DATA = Path(__file__).parent / "data"
TINY = ModelConfig(
    latent_channels=24,
    blocks_8=0,
    blocks_16=0,
    hyper_channels=8,
    hyper_analysis_channels=8,
    hyper_synthesis_channels=(8, 8, 16),
)
SIZES = {"one-pixel": (1, 1), "grey": (33, 17), "odd": (75, 51), "wide": (200, 40), "raster": (60, 70)}
CODINGS = {
    "grey": Coding(0),
    "odd": Coding(1),
    "wide": Coding(3),
    "raster": Coding(1, "raster"),
    "one-pixel": Coding(0, "sigma"),
}
"""Where not as the weights ask for."""


def make_tiny_model(path: Path) -> CodecModel:
    from ctc_codec.training.data import PatchStore
    from ctc_codec.training.export import export
    from ctc_codec.training.klt import init_linear
    from ctc_codec.training.model import TrainingModel

    torch.manual_seed(3)
    generator = torch.Generator()
    generator.manual_seed(3)
    photo = path.parent / "synthetic.png"
    synthetic_image(512, 512).save(photo)
    model = TrainingModel(TINY, context=True)
    init_linear(model, PatchStore([photo], 256, torch.device("cpu")), generator)
    photo.unlink()
    with torch.no_grad():
        model.hyper_synthesis.leave.weight *= 8
        for network in (model.crr.network, model.cdr.network):
            for layer in (network.join, network.leave, network.own):
                layer.weight.normal_(std=0.05, generator=generator)
    priority = torch.randint(-100, 100, (TINY.latent_channels,), generator=generator)
    export(model, path, priority.numpy().astype(np.int16))
    return CodecModel.load(path)


def write_files(folder: Path, model: CodecModel, images: dict[str, Image.Image]) -> None:
    hashes = {}
    for name, image in images.items():
        data = encode(image, weights=model, device="cpu", coding=CODINGS.get(name), quality_table=False)
        (folder / f"{name}.ctc").write_bytes(data)
        cuts = {30, *(len(data) * i // 5 for i in range(1, 6)), len(data) - 1}
        hashes[name] = {
            str(cut): decode_latent(data[:cut], weights=model)[1].sha256()
            for cut in sorted(cuts)
            if cut >= 30
        }
    (folder / "hashes.json").write_text(json.dumps(hashes, indent=1) + "\n")


def write_extras(folder: Path, model: CodecModel) -> None:
    """An image with everything that is not colour."""
    image = synthetic_image(90, 70)
    y, x = np.mgrid[0:70, 0:90]
    alpha = np.clip(700 - 20 * np.hypot(x - 40, y - 33), 0, 255).astype(np.uint8)
    pixels = np.asarray(image)
    source = SourceImage(
        pixels, False, [], alpha, b"MM\0*\0\0\0\x08\0\0\0\0\0\0", b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    )
    data = encode(source, weights=model, device="cpu", coding=Coding(1))
    (folder / "extras.ctc").write_bytes(data)
    hashes = json.loads((folder / "hashes.json").read_text())
    cuts = (30, 300, 600, 900, 1500, len(data))
    hashes["extras"] = {
        str(cut): decode_latent(data[:cut], weights=model)[1].sha256() for cut in cuts if cut <= len(data)
    }
    (folder / "hashes.json").write_text(json.dumps(hashes, indent=1) + "\n")
    expected = {
        "alpha": hashlib.sha256(alpha.tobytes()).hexdigest(),
        "exif": source.exif.hex(),
        "xmp": source.xmp.hex(),
    }
    (folder / "extras.json").write_text(json.dumps(expected, indent=1) + "\n")


def main(what: str) -> None:
    folder = DATA / what
    folder.mkdir(parents=True, exist_ok=True)
    images = {name: synthetic_image(*size) for name, size in SIZES.items()}
    images["grey"] = images["grey"].convert("L")
    if what == "format":
        write_files(folder, make_tiny_model(folder / "tiny.safetensors"), images)
        write_extras(folder, load_model(folder / "tiny.safetensors"))
    elif what == "extras":
        write_extras(DATA / "format", load_model(DATA / "format" / "tiny.safetensors"))
    elif what == "release":
        write_files(folder, load_model(), {"photo": synthetic_image(192, 128)})
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) == 2 else "")
