"""One codec on one image, and all of them side by side: in parallel, and only once.

What was measured lies in a cache, a file per image and codec, under a name that all it depends on goes into:
the image's bytes, the codec's version and settings, the weights, and the code that measures.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from ..cli.files import write_output
from ..image.source import Pixels
from .codecs import Codec, Ctc, PeerError
from .images import EvaluationImage, read_image
from .metrics import quality

Point = dict[str, Any]
"""asked (as of :class:`Stream`), nbytes, bpp and the metrics by name."""


def measure(codec: Codec, pixels: Pixels, metrics: Sequence[str]) -> list[Point]:
    """The points of a codec on one image, uint8 [height, width, 3]. Raises PeerError.

    A cut of an embedded file that its decoder cannot show is left out.
    """
    points: list[Point] = []
    known: dict[int, dict[str, float | None]] = {}
    for stream in codec.streams(pixels):
        prefix = codec.embedded and stream.asked is not None
        values = known.get(stream.nbytes) if prefix else None
        if values is None:
            try:
                decoded = stream.decode()
            except PeerError:
                if not codec.embedded:
                    raise
                continue
            values = quality(pixels, decoded, metrics)
            if prefix:
                known[stream.nbytes] = values
        bpp = 8 * stream.nbytes / (pixels.shape[0] * pixels.shape[1])
        rounded = {name: value if value is None else round(value, 6) for name, value in values.items()}
        points.append({"asked": stream.asked, "nbytes": stream.nbytes, "bpp": round(bpp, 6), **rounded})
    return points


_CODEC = ("codec", "container", "crr", "planes", "synthesis", "transform")
_MEASURING = ("codecs", "peers", "metrics", "measure", "resources")


def code_digest() -> str:
    """SHA-256 of the code that a measurement runs through: the codec and this package's."""
    here = Path(__file__).parent
    files = [
        *(path for package in _CODEC for path in (here.parent / package).glob("*.py")),
        *(here / f"{name}.py" for name in _MEASURING),
    ]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()


@dataclass(frozen=True)
class Cache:
    """Results in a folder. Files that are damaged count as absent."""

    folder: Path

    def _path(self, key: object) -> Path:
        text = json.dumps(key, sort_keys=True, default=str)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"

    def get(self, key: object) -> Any:
        """What was put under a key, or None."""
        try:
            return json.loads(self._path(key).read_text())
        except (OSError, ValueError):
            return None

    def put(self, key: object, value: object) -> None:
        """Keep a value that JSON can hold; whole or not at all."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_output(str(path), json.dumps(value).encode(), force=True)


def codec_key(codec: Codec, version: str, weights_digest: str, code: str) -> dict[str, Any]:
    """What results of a codec depend on, besides the image."""
    settings = {k: str(v) for k, v in asdict(codec).items() if k != "weights"}  # type: ignore[call-overload]
    ours = {"weights": weights_digest} if isinstance(codec, Ctc) else {}
    return {"settings": settings, "version": version, "code": code, **ours}


def _leave_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _begin_worker() -> None:
    """One thread each; interrupts are the parent's business, its death is ours."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = "1"  # of torch, should a metric import it


def _measure_file(
    codec: Codec, path: Path, metrics: Sequence[str], cache: Cache, key: object
) -> tuple[list[Point], str | None]:
    """Points, or none and the reason. Kept here, so that work in hand is not lost on an interrupt."""
    if isinstance(codec, Ctc):
        codec = replace(codec, threads=1)
    try:
        points = measure(codec, read_image(path).pixels, metrics)
    except Exception as error:  # a peer may fail in any way; the report names it and goes on
        return [], f"{path.name}: {type(error).__name__}: {' '.join(str(error).split())}"
    cache.put(key, points)
    return points, None


@dataclass(frozen=True)
class Measured:
    """points: by codec's name, then image's name; failed: reason by codec's name."""

    points: dict[str, dict[str, list[Point]]]
    failed: dict[str, str]


def measure_all(
    images: Sequence[EvaluationImage],
    codecs: Sequence[Codec],
    keys: dict[str, dict[str, Any]],
    metrics: Sequence[str],
    cache: Cache,
    jobs: int,
    progress: Callable[[str], Any] = lambda done: None,
) -> Measured:
    """Every codec on every image, what the cache does not have in ``jobs`` processes.

    keys: of the codecs, by name. progress: called with a few words after each image and codec. A codec that
    fails on one image is left out as a whole: means over fewer images would not compare.
    Raises BrokenProcessPool if a process is killed.
    """
    points: dict[str, dict[str, list[Point]]] = {codec.name: {} for codec in codecs}
    failed: dict[str, str] = {}

    tasks: list[tuple[Codec, EvaluationImage, object]] = []
    for codec in codecs:
        for image in images:
            key = [keys[codec.name], image.sha256, sorted(metrics)]
            found = cache.get(key)
            if found is None:
                tasks.append((codec, image, key))
            else:
                points[codec.name][image.name] = found
                progress(f"{image.name} {codec.label}")
    for codec, image, (found, reason) in _in_processes(tasks, metrics, cache, jobs):
        if reason is None:
            points[codec.name][image.name] = found
        else:
            failed.setdefault(codec.name, reason)
        progress(f"{image.name} {codec.label}")
    for name in failed:
        del points[name]
    order = [image.name for image in images]
    return Measured({name: {i: rows[i] for i in order} for name, rows in points.items()}, failed)


def _in_processes(
    tasks: Sequence[tuple[Codec, EvaluationImage, object]], metrics: Sequence[str], cache: Cache, jobs: int
) -> Iterator[tuple[Codec, EvaluationImage, tuple[list[Point], str | None]]]:
    if not tasks:
        return
    pool = ProcessPoolExecutor(
        min(jobs, len(tasks)), mp_context=get_context("spawn"), initializer=_begin_worker
    )
    try:
        running = {
            pool.submit(_measure_file, codec, image.path, metrics, cache, key): (codec, image)
            for codec, image, key in tasks
        }
        for future in as_completed(running):
            yield *running[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)
