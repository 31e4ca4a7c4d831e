"""One codec on one image, and all of them side by side: in parallel, and only once.

Results lie in a cache, a file per image and codec, under a name that all they depend on goes into: the
image's bytes, the codec's version and settings, the weights, and the code that measures.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..codec.processes import end_with_parent
from ..container.atomic import write_whole
from ..errors import CtcError
from ..image.transparency import Pixels
from .codecs import Codec, Ctc, PeerError
from .images import EvaluationImage, read_image
from .metrics import quality

Point = dict[str, Any]
"""asked (as of :class:`Stream`), nbytes, bpp and the metrics by name."""


class MeasurementError(CtcError):
    """An evaluation cannot be made: our own codec fails, or a package is not installed."""


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


_CODEC = ("codec", "container", "crr", "image", "planes", "synthesis", "transform")
_MEASURING = ("codecs", "images", "peers", "metrics", "measure", "resources")


@functools.cache
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
        """The value that was put under a key, or None."""
        try:
            return json.loads(self._path(key).read_text())
        except (OSError, ValueError):
            return None

    def put(self, key: object, value: object) -> None:
        """Keep a value that JSON can hold; whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._path(key), json.dumps(value).encode())

    def kept(self, key: object, make: Callable[[], Any]) -> Any:
        """The value under a key; made and put there first if there is none. None is not kept."""
        value = self.get(key)
        if value is None and (value := make()) is not None:
            self.put(key, value)
        return value


def codec_key(codec: Codec, weights_digest: str) -> dict[str, Any]:
    """Everything that results of a codec depend on, besides the image. Raises PeerError."""
    settings = {k: str(v) for k, v in asdict(codec).items() if k != "weights"}  # type: ignore[call-overload]
    ours = {"weights": weights_digest} if isinstance(codec, Ctc) else {}
    return {"settings": settings, "version": codec.version(), "code": code_digest(), **ours}


def _begin_worker() -> None:
    """Give a worker one thread, leave interrupts to its parent, and end it when that dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    os.environ["OMP_NUM_THREADS"] = "1"  # of torch, should a metric import it


@dataclass(frozen=True)
class Measuring:
    """The way in which codecs are measured.

    cache: of earlier measurements.
    metrics: their names.
    jobs: processes.
    quiet: without a progress bar.
    """

    cache: Cache
    metrics: Sequence[str] = ("psnr",)
    jobs: int = 1
    quiet: bool = True


@dataclass(frozen=True)
class _Task:
    codec: Codec
    image: EvaluationImage
    key: object


def _measure_task(task: _Task, how: Measuring) -> tuple[list[Point], str | None]:
    """Points, or none and the reason. Kept here, so that work in hand is not lost on an interrupt."""
    codec, path = task.codec, task.image.path
    if isinstance(codec, Ctc):
        codec = replace(codec, threads=1)
    try:
        points = measure(codec, read_image(path).pixels, how.metrics)
    except Exception as error:  # a peer may fail in any way; the report names it and goes on
        return [], f"{path.name}: {type(error).__name__}: {' '.join(str(error).split())}"
    how.cache.put(task.key, points)
    return points, None


@dataclass(frozen=True)
class Measured:
    """Results of codecs on images.

    points: by codec's name, then image's name.
    failed: reason by name of a codec that failed or cannot be run.
    resources: by codec's name, of :func:`ctc_codec.evaluation.resources.resources_of`; empty without times.
    """

    points: dict[str, dict[str, list[Point]]]
    failed: dict[str, str] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)


def measure_all(
    images: Sequence[EvaluationImage],
    codecs: Sequence[Codec],
    keys: dict[str, dict[str, Any]],
    how: Measuring,
) -> Measured:
    """Measure every codec on every image: in processes, unless the cache has it.

    A codec that fails on one image is left out as a whole: means over fewer images would not compare.

    keys: of the codecs, by name, see :func:`codec_key`.

    Raises BrokenProcessPool if a process is killed.
    """
    points: dict[str, dict[str, list[Point]]] = {codec.name: {} for codec in codecs}
    failed: dict[str, str] = {}
    tasks: list[_Task] = []
    title = f"{len(images)} images, {len(codecs)} codecs"
    # None: shown on a terminal.
    with tqdm(total=len(images) * len(codecs), desc=title, disable=how.quiet or None) as bar:

        def done(task: _Task) -> None:
            bar.set_postfix_str(f"{task.image.name} {task.codec.label}", refresh=False)
            bar.update()

        for codec in codecs:
            for image in images:
                task = _Task(codec, image, [keys[codec.name], image.sha256, sorted(how.metrics)])
                found = how.cache.get(task.key)
                if found is None:
                    tasks.append(task)
                else:
                    points[codec.name][image.name] = found
                    done(task)
        for task, (found, reason) in _in_processes(tasks, how):
            if reason is None:
                points[task.codec.name][task.image.name] = found
            else:
                failed.setdefault(task.codec.name, reason)
            done(task)
    for name in failed:
        del points[name]
    order = [image.name for image in images]
    return Measured({name: {i: rows[i] for i in order} for name, rows in points.items()}, failed)


def _in_processes(
    tasks: Sequence[_Task], how: Measuring
) -> Iterator[tuple[_Task, tuple[list[Point], str | None]]]:
    if not tasks:
        return
    pool = ProcessPoolExecutor(min(how.jobs, len(tasks)), get_context("spawn"), _begin_worker)
    try:
        running = {pool.submit(_measure_task, task, how): task for task in tasks}
        for future in as_completed(running):
            yield running[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)
