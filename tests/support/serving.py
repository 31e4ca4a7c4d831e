"""What commands fetch of a file on a web server, for the table of docs/SERVING.md.

    cd tests && python -m support.serving IMAGE [-o FILE.json]

encodes an image, serves it, and counts requests and bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ctc_codec.codec.model import default_weights
from ctc_codec.image.source import psnr
from support.command import ctc
from support.servers import served

ENCODED = "ctc encode -q 95"
COMMANDS = (
    "ctc info URL",
    "ctc decode URL --thumbnail",
    "ctc decode URL --bytes 3000",
    "ctc decode URL --bpp 0.3",
    "ctc truncate URL --psnr 30",
    "ctc decode URL --bpp 1",
    "ctc decode URL",
)


def measure(image: Path) -> dict[str, Any]:
    """The document: what was encoded, and a row for each command."""
    with Image.open(image) as opened:
        original = np.asarray(opened.convert("RGB"))
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as name, served(Path(name)) as site:
        os.chdir(name)
        try:
            _run(f"{ENCODED} {image} -o photo.ctc")
            rows = []
            for command in COMMANDS:
                site.forget()
                _run(command.replace("URL", f"{site.url}/photo.ctc") + _output(command))
                row = {"command": command, "requests": len(site.asked), "bytes": sum(site.sent)}
                rows.append(row | {"psnr": _psnr(command, original)})
            size = Path("photo.ctc").stat().st_size
        finally:
            os.chdir(here)
    return {
        "image": image.stem,
        "size": [original.shape[1], original.shape[0]],
        "encoded": ENCODED,
        "file_bytes": size,
        "weights": hashlib.sha256(default_weights().read_bytes()).hexdigest(),
        "rows": rows,
    }


def _output(command: str) -> str:
    if "info" in command:
        return ""
    return " -f -o cut.ctc" if "truncate" in command else " -f -o picture.png"


def _run(command: str) -> None:
    done = ctc(*command.split()[1:])
    if done.code:
        raise SystemExit(f"{command}: {done.err}")


def _psnr(command: str, original: np.ndarray) -> float | None:
    """Of the picture that a command made; None for one that made none of this size."""
    if "info" in command or "--thumbnail" in command:
        return None
    if "truncate" in command:
        _run("ctc decode cut.ctc -f -o picture.png")
    with Image.open("picture.png") as picture:
        return round(psnr(np.asarray(picture.convert("RGB")), original), 3)


def main() -> None:
    """Measure, and write the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parents[2] / "docs/serving.json")
    chosen = parser.parse_args()
    document = measure(chosen.image.resolve())
    chosen.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
