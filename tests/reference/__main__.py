"""``python -m reference FILE.ctc WEIGHTS.safetensors``: what a file holds, and the hash of its latent."""

from __future__ import annotations

import sys
from pathlib import Path

from . import container, latent
from .weights import Weights


def main(arguments: list[str]) -> None:
    if len(arguments) != 2:
        raise SystemExit(__doc__)
    try:
        file = container.read(Path(arguments[0]).read_bytes())
        found = latent.decode(file, Weights(arguments[1]))
    except (OSError, ValueError, IndexError) as error:
        raise SystemExit(f"{arguments[0]}: {error}") from None
    n, h, w = found.shape
    print(f"size      {file.width}x{file.height} pixels, latent {n}x{h}x{w}")
    print(f"coding    {file.slices} slices with context, order {file.order}, flags {file.flags}")
    print(f"code word {len(file.code)} of {file.code_bytes} bytes{', damaged after them' * file.damaged}")
    print(f"extras    {len(file.extras)} of {file.extras_bytes} bytes")
    print(f"z         {'decoded' if found.hyper_known else 'not complete: its most frequent values'}")
    for plane, got, all_of_it in found.trits:
        print(f"plane {plane}   {got} of {all_of_it} trits")
    print(f"sha256    {found.sha256()}")


if __name__ == "__main__":
    main(sys.argv[1:])
