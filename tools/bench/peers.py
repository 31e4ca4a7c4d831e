"""Other codecs beside ours, in the same run."""

from __future__ import annotations

import bisect
import dataclasses
import time
from typing import Any

import numpy as np
from PIL import Image

from bench.sections import Bench
from bench.trees import Tree, workers
from bench.worker import Job
from ctc_codec.evaluation.codecs import Codec, PeerError
from ctc_codec.evaluation.peers import PEERS

RATES: tuple[float, ...] = (0.5, 1.0)
"""Bits per pixel."""
NAMES = ("jpeg2000", "webp", "avif", "jpegxl")
"""Codecs, see :mod:`ctc_codec.evaluation.peers`."""


def _settled(codec: Any, bpp: float, pixels: Any) -> Codec:
    """A codec with the one setting whose file is the largest within a rate, or with the least quality."""
    if codec.unit == "bpp":
        return dataclasses.replace(codec, rates=(bpp,))
    most = bpp * pixels.shape[0] * pixels.shape[1] / 8

    def at(quality: int) -> Any:
        return dataclasses.replace(codec, qualities=(quality,))

    return at(bisect.bisect(range(2, 101), most, key=lambda q: next(at(q).streams(pixels)).nbytes) + 1)


def peers(bench: Bench) -> dict[str, Any]:
    """Other codecs beside ours, from and to samples in memory: labels, settings, and milliseconds to encode
    and decode files near some rates, by rate; why one is missing."""
    with Image.open(bench.image) as image:
        pixels = np.asarray(image.convert("RGB"))
    count = pixels.shape[0] * pixels.shape[1]
    told: dict[str, Any] = {}
    settled: dict[tuple[str, float], Codec] = {}
    for codec in PEERS:
        if codec.name in NAMES:
            told[codec.name] = {"label": codec.label, "setting": codec.setting}
            try:
                told[codec.name]["version"] = codec.version()
                for bpp in RATES:
                    settled[codec.name, bpp] = _settled(codec, bpp, pixels)
            except PeerError as error:
                told[codec.name]["missing"] = str(error)
    mine = bench.trees[-1]
    with workers(bench.trees) as running:
        for run in range(bench.runs + 1):
            bench.progress(f"other codecs, {run}")
            for bpp in RATES:
                found: list[tuple[Tree, str, float, float]] = []
                for (name, rate), codec in settled.items():
                    if rate == bpp:
                        times = _timed(codec, pixels)
                        found += [(mine, f"{name}/{kind}", *times[kind]) for kind in times]
                for tree in bench.trees:
                    coded = str(bench.file(tree, f"peer{bpp:g}.ctc"))
                    encode = Job("encode", str(bench.image), coded, bpp=bpp, files=False)
                    for kind, job in (("encode", encode), ("decode", Job("decode", coded, files=False))):
                        result = running[tree.name].do(job)
                        found.append((tree, f"ctc/{kind}", result["ms"], 8 * result["bytes"] / count))
                for tree, name, ms, rate in found if run else ():
                    bench.add(tree, f"peer/{name}/{bpp:g}/ms", ms)
                    bench.add(tree, f"peer/{name}/{bpp:g}/bpp", rate)
    return told


def _timed(codec: Codec, pixels: Any) -> dict[str, tuple[float, float]]:
    """Milliseconds to encode and to decode, and the rate."""
    started = time.perf_counter()
    (stream,) = codec.streams(pixels)
    encoded = time.perf_counter()
    stream.decode()
    decoded = time.perf_counter()
    bpp = 8 * stream.nbytes / (pixels.shape[0] * pixels.shape[1])
    return {"encode": (1e3 * (encoded - started), bpp), "decode": (1e3 * (decoded - encoded), bpp)}
