"""The corpus that fuzzing begins with, made by code: `python -m fuzz.seeds FOLDER [SURFACE...]`.

Writes the seeds of each surface into FOLDER/SURFACE, for other fuzzers too. The same code gives the same
files; of images they also depend on what this Pillow can write.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .explore import SURFACES, surface_of
from .surface import Surface


def write_seeds(surface: Surface, folder: Path) -> int:
    """Write a surface's seeds into a folder; return how many."""
    folder.mkdir(parents=True, exist_ok=True)
    seeds = surface.seeds()
    for number, data in enumerate(seeds):
        (folder / f"seed-{number:03d}").write_bytes(data[: surface.max_bytes])
    return len(seeds)


def main(arguments: Sequence[str]) -> None:
    """Write the seeds that are asked for."""
    parser = argparse.ArgumentParser(
        prog="fuzz.seeds", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "surfaces", nargs="*", metavar="SURFACE", help=f"of {', '.join(SURFACES)}; default: all"
    )
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.surfaces) - set(SURFACES):
        parser.error(f"no such surface: {', '.join(sorted(unknown))}")
    for name in chosen.surfaces or SURFACES:
        count = write_seeds(surface_of(name), chosen.folder / name)
        print(f"{name:17} {count:4d}")


if __name__ == "__main__":
    main(sys.argv[1:])
