"""Time and memory of one codec in a process of its own that does nothing else.

    python -m ctc_codec.evaluation.resources CODEC IMAGE... [--weights FILE, for ctc]

Prints JSON: seconds to encode and to decode (medians over the images after a warm-up, at the point nearest to
1 bpp, threads as the codec comes) and the most memory that the process ever held. Encoding an embedded
file is paid once for all rates.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ..codec.options import DEFAULT_QUALITY
from ..image.transparency import Pixels
from .codecs import Codec, Ctc, CtcFiles, PeerError
from .images import read_image
from .peers import PEERS

_NEAR = 1.0


def _run(codec: Codec, pixels: Pixels) -> tuple[float, float]:
    """Seconds to encode and to decode."""
    count = pixels.shape[0] * pixels.shape[1]
    best: tuple[float, float, float] | None = None
    encoding, started = 0.0, time.perf_counter()
    for number, stream in enumerate(codec.streams(pixels)):
        if number == 0 or not codec.embedded:
            encoding = time.perf_counter() - started
        distance = abs(8 * stream.nbytes / count - _NEAR)
        if best is None or distance < best[0]:
            started = time.perf_counter()
            try:
                stream.decode()
            except PeerError:
                continue
            best = distance, encoding, time.perf_counter() - started
        started = time.perf_counter()
    if best is None:
        raise PeerError("no stream could be decoded")
    return best[1:]


def _peak_memory() -> int | None:
    """Bytes; of this process or, where a codec is a program of its own, of that one."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    try:  # ru_maxrss is not reset by exec: it would tell of the process that started this one
        status = Path("/proc/self/status").read_text()
        own = int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return int(max(own, children))


def resources_of(codec: Codec, images: list[Path]) -> dict[str, Any] | None:
    """Run this module in a fresh process. None if it fails.

    encode_s: seconds, median over the images.
    decode_s: seconds, median over the images.
    peak_memory: bytes; None where the system does not tell.
    """
    options = ["--weights", str(codec.weights)] if isinstance(codec, Ctc) else []
    command = [sys.executable, "-m", __name__, codec.name, *map(str, images), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    return dict(json.loads(done.stdout)) if done.returncode == 0 else None


def main(arguments: list[str]) -> None:
    """Print the result of :func:`resources_of` as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--weights", type=Path)
    chosen = parser.parse_args(arguments)
    ours: list[Codec] = []
    if chosen.weights:
        ours = [Ctc(chosen.weights, (_NEAR,), quality=DEFAULT_QUALITY), CtcFiles(chosen.weights, (_NEAR,))]
    codec = {c.name: c for c in (*ours, *PEERS)}[chosen.name]
    pixels = [read_image(path).pixels for path in chosen.images]
    _run(codec, pixels[0])
    times = [_run(codec, p) for p in pixels]
    encoding, decoding = (statistics.median(t) for t in zip(*times, strict=True))
    print(json.dumps({"encode_s": encoding, "decode_s": decoding, "peak_memory": _peak_memory()}))


if __name__ == "__main__":
    main(sys.argv[1:])
