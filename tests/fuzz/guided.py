"""One surface under atheris (libFuzzer), in a process of its own; ``python -m fuzz`` starts it.

    python -m fuzz.guided SURFACE [libFuzzer's options]       from the folder tests/

Begins with the surface's seeds and regressions and what earlier runs found new in ``runs/fuzz``.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import atheris

CORPUS = Path(__file__).resolve().parents[2] / "runs" / "fuzz"

_AT_ONCE = 64
"""The mutator makes at most so many bytes more than it was given."""


def main(name: str, options: list[str]) -> None:
    packages = ["ctc_codec", "PIL"] if name == "image" else ["ctc_codec"]
    # Nothing of these may have been imported before: it would not be seen.
    with atheris.instrument_imports(include=packages):
        from .explore import surface_of

        surface = surface_of(name)

    def mutated(data: bytes, max_size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        return surface.mutate(data, rng, lambda old: atheris.Mutate(old, len(old) + _AT_ONCE))[:max_size]

    corpus = CORPUS / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(surface.seeds()):
        (corpus / f"seed-{number:03d}").write_bytes(data[: surface.max_bytes])
    folders = [str(corpus), *{str(path.parent) for path in surface.regressions()}]
    arguments = [name, *options, f"-max_len={surface.max_bytes}", *folders]
    atheris.Setup(arguments, surface.check, custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
