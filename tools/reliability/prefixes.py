"""The promise of the format, checked on photographs: cuts at random bytes.

    cd tools && python -m reliability.prefixes FOLDER [--cuts 20] [-o FILE.json]

Every cut must decode to the right size, to a latent that the whole file's confirms, and to no less quality
than any shorter cut, by more than TOLERANCE. The exit code is 1 if a promise is broken.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctc_codec.codec.decoder import DecodedLatent, Decoder
from ctc_codec.codec.encoder import encode
from ctc_codec.codec.model import CodecModel, load_model
from ctc_codec.container.header import Header
from ctc_codec.evaluation.images import image_files, read_image
from ctc_codec.image.source import psnr
from ctc_codec.planes.trits import at_plane
from reliability.record import record, write

TOLERANCE = 0.05
"""dB that more bytes may lose."""

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


def decoder_of(data: bytes, model: CodecModel) -> Decoder:
    """A decoder that has all of a file or a cut."""
    decoder = Decoder(weights=model)
    decoder.feed(data)
    decoder.finish()
    return decoder


def check(path: Path, cuts: int, model: CodecModel, rng: np.random.Generator) -> dict[str, Any]:
    """Cut the file of an image at random bytes: how many cuts, what is broken, and the largest loss in dB."""
    source = read_image(path)
    data = encode(source, weights=model)
    whole = decoder_of(data, model).latent()
    places = np.sort(rng.integers(Header.parse(data)[1], len(data), cuts)).tolist()
    broken, best, worst = [], -np.inf, 0.0
    for cut in [*places, len(data)]:
        decoder = decoder_of(data[:cut], model)
        pixels = np.asarray(decoder.image().convert("RGB"))
        if pixels.shape != source.pixels.shape:
            broken.append(f"at byte {cut}: wrong size")
            continue
        if not is_prefix(decoder.latent(), whole):
            broken.append(f"at byte {cut}: not a prefix of the whole")
        quality = psnr(source.pixels, pixels)
        if quality < best - TOLERANCE:
            broken.append(f"at byte {cut}: {best - quality:.2f} dB worse than a shorter cut")
        worst, best = max(worst, best - quality), max(best, quality)
    return {"image": path.name, "cuts": cuts + 1, "broken": broken, "loss": round(worst, 3)}


def lines(content: dict[str, Any]) -> list[str]:
    """A record in a sentence."""
    total = content["summary"]
    return [
        f"{total['cuts']:,} cuts at random bytes and whole files of {total['images']} photographs: "
        f"{total['broken'] or 'no'} broken promises; more bytes lost {total['loss']:.3f} dB at most."
    ]


def main(arguments: list[str]) -> int:
    """Check the images of a folder, print what is found, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of photographs")
    parser.add_argument("--cuts", type=int, default=20, help="of each file, besides the whole (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the cuts")
    parser.add_argument("-o", dest="output", type=Path, help=".json")
    chosen = parser.parse_args(arguments)
    model, rng = load_model(), np.random.default_rng(chosen.seed)
    rows = [check(path, chosen.cuts, model, rng) for path in image_files(chosen.folder)]
    total = {
        "images": len(rows),
        "cuts": sum(row["cuts"] for row in rows),
        "broken": sum(len(row["broken"]) for row in rows),
        "loss": max((row["loss"] for row in rows), default=0.0),
    }
    content = record(total, rows)
    print("\n".join(lines(content)))
    for row in rows:
        for line in row["broken"]:
            print(f"{row['image']} {line}", file=sys.stderr)
    if chosen.output:
        write(chosen.output, content)
    return int(bool(total["broken"]) or not rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
