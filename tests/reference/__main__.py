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
    print(f"size      {file.width}x{file.height} pixels, flags {file.flags}")
    print(f"code word {len(file.code)} of {file.code_bytes} bytes{', damaged after them' * file.damaged}")
    print(f"extras    {len(file.extras)} of {file.extras_bytes} bytes")
    print(f"low band  {f'at plane {found.low_plane}' if found.low_held else 'not complete: 0'}")
    print(f"slices    {found.slices} of {file.slices}, in {file.planes} planes")
    print(f"plane     {found.plane}, {sum(found.known)} of {len(found.known)} elements known")
    print(f"sha256    {found.sha256()}")


if __name__ == "__main__":
    main(sys.argv[1:])
