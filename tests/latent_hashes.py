"""Decodes the golden files and prints their latents' hashes as JSON, under the settings of its process.

Arguments: ``threads=N``, ``onednn=off``, ``nnpack=off``, ``autocast=on``, ``precision=medium``. Instruction
sets are chosen by environment variables (ATEN_CPU_CAPABILITY, ONEDNN_MAX_CPU_ISA) before the start.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import torch

from ctc_codec import decode_latent, load_model

DATA = Path(__file__).parent / "data"


def hashes(folder: Path) -> dict[str, dict[str, str]]:
    """Hashes of the golden files of a folder, in the form of its hashes.json."""
    tiny = folder / "tiny.safetensors"
    model = load_model(tiny if tiny.exists() else None)
    expected = json.loads((folder / "hashes.json").read_text())
    found: dict[str, dict[str, str]] = {}
    for name, cuts in expected.items():
        data = (folder / f"{name}.ctc").read_bytes()
        found[name] = {cut: decode_latent(data[: int(cut)], weights=model)[1].sha256() for cut in cuts}
    return found


def main(arguments: list[str]) -> None:
    settings = dict(argument.split("=") for argument in arguments)
    if "threads" in settings:
        torch.set_num_threads(int(settings["threads"]))
    torch.backends.mkldnn.enabled = settings.get("onednn") != "off"
    torch.backends.nnpack.set_flags(settings.get("nnpack") != "off")
    torch.set_float32_matmul_precision(settings.get("precision", "highest"))
    autocast = torch.autocast("cpu", dtype=torch.bfloat16)
    with autocast if settings.get("autocast") == "on" else contextlib.nullcontext():
        print(json.dumps({folder: hashes(DATA / folder) for folder in ("format", "release")}))


if __name__ == "__main__":
    main(sys.argv[1:])
