"""One surface under atheris (libFuzzer), in a process of its own; ``python -m fuzz`` starts it.

    python -m fuzz.guided SURFACE OUTCOMES [libFuzzer's options]       from the folder tests/

Counts what the check returns, every second into the JSON file OUTCOMES. Begins with the surface's seeds and
regressions and what earlier runs found new in ``runs/fuzz``.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

import atheris

CORPUS = Path(__file__).resolve().parents[2] / "runs" / "fuzz"

_FOLLOWED = {
    **{name: ["ctc_codec.container"] for name in ("header", "blocks", "sections", "coder", "container")},
    "image": ["ctc_codec", "PIL"],
}
"""Packages whose branches lead the search; the whole codec for the surfaces that are not here."""

_AT_ONCE = 64
"""The mutator makes at most so many bytes more than it was given."""


def main(name: str, outcomes: Path, options: list[str]) -> None:
    # Nothing of these may have been imported before: it would not be seen.
    with atheris.instrument_imports(include=_FOLLOWED.get(name, ["ctc_codec"])):
        from .explore import surface_of
        from .seeds import write_seeds

        surface = surface_of(name)

    def mutated(data: bytes, max_size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        return surface.mutate(data, rng, lambda old: atheris.Mutate(old, len(old) + _AT_ONCE))[:max_size]

    words: Counter[str] = Counter()
    written = 0.0

    def counted(data: bytes) -> None:
        nonlocal written
        words[surface.check(data)] += 1
        if time.monotonic() > written + 1:
            outcomes.write_text(json.dumps(words))
            written = time.monotonic()

    corpus = CORPUS / name
    write_seeds(surface, corpus)
    folders = [str(corpus), *{str(path.parent) for path in surface.regressions()}]
    arguments = [name, *options, f"-max_len={surface.max_bytes}", *folders]
    atheris.Setup(arguments, counted, custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
