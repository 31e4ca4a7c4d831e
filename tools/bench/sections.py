"""What is measured, section by section. Trees take turns at every single measurement."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench import dense
from bench.pictures import mosaic
from bench.trees import Tree, Worker, workers
from bench.worker import Job
from ctc_codec.codec.model import load_model
from ctc_codec.transform.lifting import level_sides

RATES: tuple[float | None, ...] = (0.1, 0.3, 0.5, 1.0, None)
"""Bits per pixel of prefixes; None for the whole file of default quality."""
BATCHES = ("--jobs 1", "--jobs 1 --threads 1", "--jobs 2")
PROCESS_RUNS = 5
"""At least."""
_COMMAND_RATE = 0.3
_BATCH_RUNS = 2
_LARGE = 6.0
"""Megapixels from which on a picture is coded once."""


def rate_name(bpp: float | None) -> str:
    """A rate in names of measurements."""
    return "whole" if bpp is None else f"{bpp:g}"


@dataclass
class Bench:
    """What is measured, where, and what was found.

    trees: the last one is what the numbers are of.
    image: name of a PNG file.
    runs: of every measurement.
    folder: for files.
    found: by the name of a tree, values by the name of a measurement.
    networks: alike, sums over runs of :attr:`bench.stages.Timers.networks`.
    progress: takes a line of words.
    """

    trees: Sequence[Tree]
    image: Path
    runs: int
    folder: Path
    progress: Callable[[str], Any]
    found: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    networks: dict[str, dict[str, dict[str, dict[str, float]]]] = field(default_factory=dict)

    def add(self, tree: Tree, name: str, value: float) -> None:
        """Note a value of a measurement."""
        self.found.setdefault(tree.name, {}).setdefault(name, []).append(value)

    def file(self, tree: Tree, name: str) -> Path:
        """A name for a file of a tree."""
        place = self.folder / tree.name / name
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def size(self) -> tuple[int, int]:
        """Width and height of the image."""
        with Image.open(self.image) as image:
            return image.size


def quartiles(values: Sequence[float]) -> list[float]:
    """Lower quartile, median, upper quartile."""
    if len(values) == 1:
        return [values[0]] * 3
    return statistics.quantiles(values, n=4, method="inclusive")


# --- processes --------------------------------------------------------------------------------------


def processes(bench: Bench) -> None:
    """``ctc`` as a process: milliseconds and peak memory. The first of each warms the disk's cache."""
    small = bench.folder / "64x64.png"
    with Image.open(bench.image) as image:
        image.convert("RGB").resize((64, 64)).save(small)
    names = {"64x64": small, "{}x{}".format(*bench.size()): bench.image}
    plans = {}
    for tree in bench.trees:
        commands: dict[str, list[str]] = {"--help": ["--help"]}
        for name, source in names.items():
            whole = str(bench.file(tree, f"{name}.ctc"))
            commands[f"encode {name}"] = ["encode", str(source), "-o", whole, "--quiet", "--force"]
        cut, out = str(bench.file(tree, "cut.ctc")), str(bench.file(tree, "out.png"))
        end = ["-o", cut, "--quiet", "--force"]
        commands["truncate"] = ["truncate", whole, "--bpp", str(_COMMAND_RATE), *end]
        commands |= {"info": ["info", whole], "check": ["check", whole, "--quiet"]}
        coded = {name: str(bench.file(tree, f"{name}.ctc")) for name in names}
        for name, path in (coded | {f"{[*names][-1]}, {_COMMAND_RATE:g} bpp": cut}).items():
            commands[f"decode {name}"] = ["decode", path, "-o", out, "--quiet", "--force"]
        plans[tree.name] = commands
    for run in range(max(bench.runs, PROCESS_RUNS) + 1):
        bench.progress(f"processes, {run}")
        for command in plans[bench.trees[0].name]:
            for tree in bench.trees:
                seconds, peak = tree.command(*plans[tree.name][command])
                if run:
                    bench.add(tree, f"process/{command}/ms", 1e3 * seconds)
                    bench.add(tree, f"process/{command}/MB", peak / 1e6)


# --- the picture ------------------------------------------------------------------------------------


def _each(
    bench: Bench, efforts: Sequence[int], threads: int | None, stages: bool
) -> Iterator[tuple[Tree, str, dict[str, Any]]]:
    """Encode to each rate and decode to each, with each effort: tree, name and result of each run."""
    with workers(bench.trees) as running:
        for effort in efforts:
            for tree in bench.trees:  # this warms up, too
                whole = str(bench.file(tree, f"effort{effort}.ctc"))
                job = Job("encode", str(bench.image), whole, effort=effort, threads=threads)
                running[tree.name].do(job)
                running[tree.name].do(Job("decode", whole, threads=threads))
            for kind in ("encode", "decode"):
                for bpp in RATES:
                    bench.progress(f"effort {effort}: {kind}, {rate_name(bpp)}")
                    for _ in range(bench.runs):
                        for tree in bench.trees:
                            whole = str(bench.file(tree, f"effort{effort}.ctc"))
                            source = str(bench.image) if kind == "encode" else whole
                            job = Job(kind, source, bpp=bpp, effort=effort, threads=threads, stages=stages)
                            name, result = f"{kind}/{effort}/{rate_name(bpp)}", running[tree.name].do(job)
                            bench.add(tree, f"bytes/{name}", result["bytes"])
                            yield tree, name, result


def totals(bench: Bench, efforts: Sequence[int]) -> None:
    """Milliseconds on all cores, with image files."""
    for tree, name, result in _each(bench, efforts, None, stages=False):
        bench.add(tree, f"total/{name}/ms", result["ms"])


def stages(bench: Bench, efforts: Sequence[int]) -> dict[str, list[int]]:
    """Milliseconds by stage on one thread, and what the networks did; in between, the rates of dense
    convolutions, see :func:`dense_shapes`, which are returned."""
    shapes, last = dense_shapes(*bench.size()), ""
    for tree, name, result in _each(bench, efforts, 1, stages=True):
        bench.add(tree, f"stages/{name}/total", result["ms"])
        for stage, ms in result["stages"].items():
            bench.add(tree, f"stages/{name}/{stage}", ms)
        sums = bench.networks.setdefault(tree.name, {}).setdefault(name, {})
        for channels, entry in result["networks"].items():
            into = sums.setdefault(channels, dict.fromkeys(entry, 0))
            for key, value in entry.items():
                into[key] += value
        for channels, (rows, columns) in shapes.items() if name != last else ():
            for kind in dense.KINDS:
                rate = dense.rate(kind, int(channels), (rows, columns))
                bench.add(bench.trees[-1], f"dense/{channels}/{kind}", rate)
        last = name
    return shapes


def dense_shapes(width: int, height: int) -> dict[str, list[int]]:
    """By channels of the networks, as text: rows and columns of the finest level of a picture that such a
    network sees."""
    shapes: dict[str, list[int]] = {}
    for level, network in enumerate(load_model().context.networks):
        kernels = [tensor for tensor in network.session.tensors.values() if tensor.ndim == 4]
        shapes.setdefault(str(kernels[0].shape[0]), list(level_sides(height, width)[level]))
    return shapes


# --- sizes ------------------------------------------------------------------------------------------


def sizes(bench: Bench, megapixels: Sequence[float]) -> None:
    """Milliseconds and peak memory of pictures of growing size on all cores, each in a process of its own
    that has coded a small one before."""
    small = str(bench.folder / "small.png")
    with Image.open(bench.image) as image:
        image.load()
    mosaic(image, 0.01).save(small)
    for size in megapixels:
        source = str(bench.folder / f"{size:g}.png")
        mosaic(image, size).save(source, compress_level=1)
        for _ in range(1 if size >= _LARGE else bench.runs):
            for kind in ("encode", "decode"):
                bench.progress(f"{size:g} megapixels: {kind}")
                for tree in bench.trees:
                    coded, first = str(bench.file(tree, "size.ctc")), str(bench.file(tree, "small.ctc"))
                    with Worker(tree) as worker:
                        worker.do(Job("encode", small, first))
                        if kind == "encode":
                            result = worker.do(Job(kind, source, coded))
                        else:
                            worker.do(Job(kind, first))
                            result = worker.do(Job(kind, coded))
                    bench.add(tree, f"size/{kind}/{size:g}/ms", result["ms"])
                    if result["peak"] is not None:
                        bench.add(tree, f"size/{kind}/{size:g}/MB", result["peak"] / 1e6)


# --- folders ----------------------------------------------------------------------------------------


def batches(bench: Bench, images: int) -> None:
    """Seconds of ``ctc encode`` and ``ctc decode`` of a folder of images, start-up included."""
    pictures = bench.folder / "pictures"
    pictures.mkdir()
    with Image.open(bench.image) as image:
        pixels = np.asarray(image.convert("RGB"))
    for number in range(images):
        rolled = np.roll(pixels, (number * 40, number * 100), (0, 1))
        Image.fromarray(rolled).save(pictures / f"{number:03d}.png", compress_level=1)
    for run in range(min(bench.runs, _BATCH_RUNS)):
        for jobs in BATCHES:
            for kind in ("encode", "decode"):
                bench.progress(f"{images} images, {run}: {kind} {jobs}")
                for tree in bench.trees:
                    coded, shown = bench.file(tree, "coded"), bench.file(tree, "shown")
                    source, out = (pictures, coded) if kind == "encode" else (coded, shown)
                    shutil.rmtree(out, ignore_errors=True)
                    arguments = [kind, "-r", str(source), "-o", f"{out}/", "--quiet", *jobs.split()]
                    bench.add(tree, f"batch/{kind}/{jobs}/s", tree.command(*arguments)[0])
