"""Times: stages of encoding and decoding one 768x512 image, start-up times and peak memory.

    python tools/bench.py [--image FILE] [-o FILE.json]

The stages are functions of the codec on one thread, wrapped from outside in timers that count a stage's own
time only; so the stages add up to the total, and "other" is what no timer saw. Totals on all cores, without
timers, stand below.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from ctc_codec.codec import decoder, encoder
from ctc_codec.codec.model import CodecModel, default_weights, load_model
from ctc_codec.codec.options import DEFAULT_EFFORT, EFFORTS
from ctc_codec.codec.processes import cores
from ctc_codec.container.file import truncate
from ctc_codec.evaluation.images import file_digest
from ctc_codec.evaluation.resources import measured
from ctc_codec.evaluation.results import machine
from ctc_codec.evaluation.tables import markdown
from ctc_codec.image import open as image_files
from ctc_codec.image import save
from ctc_codec.image import source as sources
from ctc_codec.image.source import SourceImage

FORMAT = "ctc-bench-1"
RATES = (0.1, 0.3, 0.5, 1.0)
"""Bits per pixel of the prefixes."""
_COMMAND_RATE = 0.3
Bench = dict[str, Any]

_STAGES = {
    "image IO": ("image.open:open_image", "image.source:source_image", "image.save:image_bytes"),
    "transform": ("codec.encoder:rotate", "codec.encoder:analyse"),
    "decisions": (
        *(
            f"codec.guide:PictureGuide.{name}"
            for name in ("__init__", "low", "begin_plane", "looks", "threshold")
        ),
        *(f"codec.guide:PictureGuide.{name}" for name in ("trits", "after_slice", "check", "table")),
        "codec.encoder:mean_squared_error",
    ),
    "context": ("codec.walk:Walk.look", "crr.context:reconstruction", "crr.context:fixed_synthesise_level"),
    "inputs": ("crr.context:inputs",),
    "networks": ("crr.network:Network.predict",),
    "rows": (
        "crr.density:rows_of",
        *(f"codec.walk:Walk.{name}" for name in ("_begin_plane", "_set_rows", "_trits", "_quiet")),
    ),
    "order": (
        "codec.walk:Walk._slice",
        "codec.walk:slice_elements",
        "codec.walk:tiles",
        "codec.walk:demotion",
    ),
    "coding": (
        *(f"container.coder:RangeEncoder.{name}" for name in ("encode", "finish")),
        *(f"container.coder:RangeDecoder.{name}" for name in ("extend", "decode")),
        *(f"codec.walk:Walk.{name}" for name in ("_first_low", "_next_low")),
    ),
    "state": ("codec.walk:Walk._learn", "planes.state:State.begin_plane", "planes.state:State.begin_low"),
    "means": ("codec.picture:coefficients",),
    "inverse wavelet": ("codec.picture:synthesise", "codec.picture:unrotate"),
    "synthesis": ("codec.picture:deviations", "synthesis.network:SynthesisNetwork.correct"),
    "projection": ("codec.picture:_projected",),
    "container": ("codec.encoder:pack", "codec.decoder:Parser.feed", "codec.decoder:Parser.file"),
}
"""Functions of each stage, as module:name."""
_INDIVISIBLE = ("projection",)
"""Stages to which all that they call belongs."""


class Timers:
    """Seconds of each stage, of code that runs on one thread."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stack: list[str] = []
        self._since = 0.0

    def _note(self) -> None:
        """Count the time since the last note for the stage on top."""
        now = time.perf_counter()
        if self._stack:
            self.seconds[self._stack[-1]] = self.seconds.get(self._stack[-1], 0.0) + now - self._since
        self._since = now

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A stage, which may begin inside another."""
        self._note()
        inside = self._stack[-1] if self._stack else None
        self._stack.append(inside if inside in _INDIVISIBLE else name)
        try:
            yield
        finally:
            self._note()
            self._stack.pop()

    def wrapped(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """A function with its time counted; of a generator of None, the time inside it."""

        def steps(generator: Generator[None]) -> Generator[None]:
            while True:
                with self.stage(name):
                    ended = next(generator, True)
                if ended:
                    return
                yield

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.stage(name):
                result = function(*args, **kwargs)
            return steps(result) if isinstance(result, Generator) else result

        return timed

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        """While timers are around the functions of all stages. Raises AttributeError for one that is gone."""
        with contextlib.ExitStack() as restored:
            for name, places in _STAGES.items():
                for owner, last in map(place_of, places):
                    function = getattr(owner, last)
                    restored.callback(setattr, owner, last, function)
                    setattr(owner, last, self.wrapped(function, name))
            yield


def place_of(place: str) -> tuple[Any, str]:
    """The module or class that a function is in, and its name there. place: as in the table of stages.

    Raises ImportError, AttributeError.
    """
    module, _, path = place.partition(":")
    *outer, last = path.split(".")
    return functools.reduce(getattr, outer, importlib.import_module(f"ctc_codec.{module}")), last


def synthetic_image(width: int = 768, height: int = 512) -> Image.Image:
    """Colour noise with a 1/f^1.2 amplitude spectrum, which has about a photograph's statistics."""
    rng = np.random.default_rng(7)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    shape = (fy.size, fx.size, 3)
    spectrum = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    spectrum /= np.maximum(np.hypot(fy, fx), 1 / width)[..., None] ** 1.2
    noise = np.fft.irfft2(spectrum, s=(height, width), axes=(0, 1))
    deviation = noise.std(axis=(0, 1))
    noise = noise / np.where(deviation > 1e-6, deviation, np.inf) * 45  # one pixel has none: grey
    mixed = 128 + 0.9 * noise[..., :1] + 0.35 * noise
    return Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8))


def _read(png: bytes) -> SourceImage:
    return sources.source_image(image_files.open_image(png))


def stages(function: Callable[[], object], runs: int) -> dict[str, float]:
    """Milliseconds of "total", of each stage that was seen and of "other": those of the run of median total,
    after one that warms up."""
    found = []
    for run in range(runs + 1):
        timers = Timers()
        with timers.attached(), timers.stage("other"):
            function()
        if run:
            found.append({name: 1e3 * seconds for name, seconds in timers.seconds.items()})
    middle = sorted(found, key=lambda times: sum(times.values()))[runs // 2]
    ordered = {name: round(middle[name], 2) for name in (*_STAGES, "other") if name in middle}
    return {"total": round(sum(middle.values()), 2), **ordered}


def _milliseconds(function: Callable[[], object], runs: int) -> float:
    """Median, after one run that warms up."""
    times = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        function()
        times.append(1e3 * (time.perf_counter() - started))
    return round(statistics.median(times[1:]), 2)


def _rows(png: bytes, effort: int, runs: int) -> Iterator[dict[str, Any]]:
    """Times of encoding to each rate and to the default file, and of decoding that and its prefixes."""
    source, one, all_cores = _read(png), load_model(threads=1), load_model()
    count = source.pixels.shape[0] * source.pixels.shape[1]
    whole = encoder.encode(source, effort=effort, weights=one)

    def encoded(model: CodecModel, bpp: float | None) -> bytes:
        return encoder.encode(_read(png), bpp=bpp, effort=effort, weights=model)

    def decoded(model: CodecModel, bpp: float | None) -> bytes:
        part = whole if bpp is None else truncate(whole, bpp=bpp)
        return save.image_bytes(decoder.decode(part, weights=model), "PNG")

    for bpp in (*RATES, None):
        nbytes = {"encode": len(encoded(one, bpp)), "decode": len(whole)}
        if bpp is not None:
            nbytes["decode"] = len(truncate(whole, bpp=bpp))
        for direction, function in (("encode", encoded), ("decode", decoded)):
            yield {
                "effort": effort,
                "direction": direction,
                "asked": bpp,
                "bpp": 8 * nbytes[direction] / count,
                "ms": stages(functools.partial(function, one, bpp), runs),
                "ms_all_cores": _milliseconds(functools.partial(function, all_cores, bpp), runs),
            }


def _commands(png: bytes, runs: int) -> dict[str, dict[str, float]]:
    """Milliseconds and peak memory of ``ctc`` as processes: medians after one that warms the disk's cache."""
    ctc = [sys.executable, "-m", "ctc_codec.cli"]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        image, whole, cut, out = (Path(folder, name) for name in ("a.png", "a.ctc", "b.ctc", "c"))
        image.write_bytes(png)
        for name, arguments in (
            ("--help", ["--help"]),
            ("encode", ["encode", str(image), "-o", str(whole)]),
            ("truncate", ["truncate", str(whole), "--bpp", str(_COMMAND_RATE), "-o", str(cut)]),
            ("info", ["info", str(cut)]),
            (f"decode, {_COMMAND_RATE:g} bpp", ["decode", str(cut), "-o", f"{out}.png"]),
            ("decode, whole", ["decode", str(whole), "-o", f"{out}.png"]),
        ):
            command = [*ctc, *arguments]
            if "-o" in arguments:
                command += ["--quiet", "--force"]
            seconds, peaks = zip(*[measured(command) for _ in range(runs + 1)][1:], strict=True)
            found[f"ctc {name}"] = {
                "ms": round(1e3 * statistics.median(seconds), 1),
                "peak_mb": round(statistics.median(peaks) / 1e6, 1),
            }
    return found


def tables(document: Bench) -> str:
    """Markdown: stages down, rates across, for every effort and direction; then the commands."""
    parts = []
    for effort in document["efforts"]:
        for direction in ("encode", "decode"):
            rows = [r for r in document["rows"] if (r["effort"], r["direction"]) == (effort, direction)]
            heads = [f"{r['bpp']:.2f} bpp" + (" (default file)" if r["asked"] is None else "") for r in rows]
            names = ["total", *(n for n in (*_STAGES, "other") if any(n in r["ms"] for r in rows))]
            lines = [[n, *(f"{r['ms'][n]:.1f}" if n in r["ms"] else "" for r in rows)] for n in names]
            lines.append([f"total, {document['cores']} cores", *(f"{r['ms_all_cores']:.1f}" for r in rows)])
            parts.append(markdown([f"{direction}, effort {effort}, ms", *heads], lines))
    lines = [[name, f"{c['ms']:.0f}", f"{c['peak_mb']:.0f}"] for name, c in document["commands"].items()]
    return "\n\n".join([*parts, markdown(["as a process", "ms", "peak memory, MB"], lines)])


def bench(png: bytes, efforts: Sequence[int], runs: int, progress: Callable[[str], Any]) -> Bench:
    """The document, of one image file."""
    rows = []
    for effort in efforts:
        for row in _rows(png, effort, runs):
            rows.append(row)
            progress(f"effort {effort}: {row['direction']}, {row['bpp']:.2f} bpp")
    progress("the command")
    size = image_files.open_image(png).size
    return {
        "format": FORMAT,
        "machine": machine(),
        "cores": cores(),
        "weights": file_digest(default_weights()),
        "image": {"width": size[0], "height": size[1]},
        "runs": runs,
        "efforts": list(efforts),
        "rows": rows,
        "commands": _commands(png, runs),
    }


@click.command()
@click.option(
    "--image", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Default: synthetic."
)
@click.option(
    "--effort",
    "efforts",
    type=click.IntRange(EFFORTS[0], EFFORTS[-1]),
    multiple=True,
    default=(EFFORTS[0], DEFAULT_EFFORT, EFFORTS[-1]),
    show_default=True,
)
@click.option("--runs", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="JSON.")
def main(image: Path | None, efforts: tuple[int, ...], runs: int, output: Path | None) -> None:
    """Print tables of milliseconds by stage; -o keeps them as JSON."""
    if image is None:
        buffer = io.BytesIO()
        synthetic_image().save(buffer, "PNG")
        png = buffer.getvalue()
    else:
        png = image.read_bytes()
    document = bench(png, efforts, runs, lambda done: click.echo(done, err=True))
    click.echo(tables(document))
    if output is not None:
        output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
