"""A process that encodes and decodes with the package that it finds, one job a line.

    python -m bench.worker [--former]

Every line of its input is a job in JSON, see :class:`Job`; every line of its output is what came of it.
Models are loaded once, before the clock runs.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.stages import Timers
from ctc_codec.codec import decoder, encoder
from ctc_codec.codec.model import load_model
from ctc_codec.container.file import truncate
from ctc_codec.image import open as image_files
from ctc_codec.image import save
from ctc_codec.image import source as sources


@dataclass(frozen=True)
class Job:
    """Encode or decode a file.

    kind: ``encode`` or ``decode``.
    source: name of an image file or of a .ctc file.
    output: name of the file to write, after the clock has stopped; None for none.
    bpp: where the file ends, None for that of default quality or, to decode, for all of it.
    effort: of the encoder.
    threads: None for one per core.
    files: from and to the bytes of image files (PNG); otherwise from and to samples.
    stages: measure stages.
    """

    kind: str
    source: str
    output: str | None = None
    bpp: float | None = None
    effort: int = 5
    threads: int | None = None
    files: bool = True
    stages: bool = False


def work_of(job: Job) -> Callable[[], bytes]:
    """What is to be timed; it gives the bytes of the output."""
    model = load_model(threads=job.threads)
    data = Path(job.source).read_bytes()
    if job.kind == "encode":
        options: dict[str, Any] = {"bpp": job.bpp, "effort": job.effort, "weights": model}
        if job.files:
            return lambda: encoder.encode(sources.source_image(image_files.open_image(data)), **options)
        image = Image.open(io.BytesIO(data)).convert("RGB")
        return lambda: encoder.encode(image, **options)
    part = data if job.bpp is None else truncate(data, bpp=job.bpp)
    if job.files:
        return lambda: save.image_bytes(decoder.decode(part, weights=model), "PNG")
    return lambda: bytes(np.asarray(decoder.decode(part, weights=model))[0, 0])


def result_of(job: Job, *, former: bool = False) -> dict[str, Any]:
    """Do a job.

    ms: milliseconds that it took; with stages, their sum.
    bytes: of the .ctc file that was written or read.
    stages: milliseconds of each, which add up; networks: see :class:`Timers`.
    peak: bytes of memory that this process has held at most, where the system tells.
    """
    work = work_of(job)
    timers = Timers()
    with contextlib.ExitStack() as timing:
        if job.stages:
            timing.enter_context(timers.attached(former=former))
            timing.enter_context(timers.stage("other"))
        started = time.perf_counter()
        made = work()
        seconds = time.perf_counter() - started
    if job.output is not None:
        Path(job.output).write_bytes(made)
    result: dict[str, Any] = {"ms": 1e3 * seconds, "peak": peak_memory()}
    if job.kind == "encode":
        result["bytes"] = len(made)
    else:
        data = Path(job.source).read_bytes()
        result["bytes"] = len(data if job.bpp is None else truncate(data, bpp=job.bpp))
    if job.stages:
        result["stages"] = {name: 1e3 * seconds for name, seconds in timers.seconds.items()}
        result["ms"] = sum(result["stages"].values())
        result["networks"] = timers.networks
    return result


def peak_memory() -> int | None:
    """Bytes that this process has held at most; None where the system does not tell."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    return None


def line_of(job: Job) -> str:
    """A job as a line."""
    return json.dumps(asdict(job)) + "\n"


def main() -> None:
    """Do jobs until there are no more."""
    former = "--former" in sys.argv[1:]
    for line in sys.stdin:
        print(json.dumps(result_of(Job(**json.loads(line)), former=former)), flush=True)


if __name__ == "__main__":
    main()
