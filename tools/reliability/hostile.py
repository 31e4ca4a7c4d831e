"""Hostile files, and too little memory: what each command makes of them, and what it takes.

    cd tools && python -m reliability.hostile [-o FILE.json] [--only X] [--side N] [--large]

Small .ctc files that declare large pictures, many looks, lengths up to 2^63 or sections that unpack to
gigabytes; image files that do the like; weights files that are broken or whose graphs are not networks; and
``ctc encode`` and ``ctc decode`` in less and less address space. Each row is a process of its own, with its
time and peak memory. It is to end with a result or with one line that says why there is none: anything else,
no end in time too, is a defect, and the exit code is 1. In too little address space (``RLIMIT_AS``) libraries
may end a process, which is told and leaves the exit code at 0. ``--large`` adds pictures at the limit of
pixels: minutes each, 8 GB.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ctc_codec import CtcError, Header, load_model
from reliability import hostile_ctc, hostile_images, hostile_weights
from reliability.hostile_tables import lines, summary
from reliability.record import record, write
from reliability.watched import CTC, DEFECTS, Watched, watched

_USE = (sys.executable, str(Path(__file__).with_name("use.py")))
_CTC_WAYS: dict[str, tuple[str, ...]] = {
    "ctc info": (*CTC, "info", "{}"),
    "ctc info --planes": (*CTC, "info", "--planes", "{}"),
    "ctc check": (*CTC, "check", "{}"),
    "ctc check --decode": (*CTC, "check", "--decode", "{}"),
    "ctc decode": (*CTC, "decode", "-f", "{}", "-o", "out.png"),
    "ctc decode --thumbnail": (*CTC, "decode", "-f", "--thumbnail", "{}", "-o", "out.png"),
    "ctc truncate --bytes": (*CTC, "truncate", "-f", "{}", "--bytes", "64", "-o", "out.ctc"),
    "ctc truncate --psnr": (*CTC, "truncate", "-f", "{}", "--psnr", "30", "-o", "out.ctc"),
    **{
        f"{who} {what}": (*_USE, f"{who} {what}", "{}")
        for who, ways in (("library", "decode thumbnail feed"), ("plugin", "load thumbnail verify"))
        for what in ways.split()
    },
}
_IMAGE_WAYS = {"ctc encode": (*CTC, "encode", "-f", "--keep-metadata", "{}", "-o", "out.ctc")}
_WEIGHTS_WAYS = {
    "ctc decode": (*CTC, "decode", "-f", "--weights", "{}", "small.ctc", "-o", "out.png"),
    "library load_model": (*_USE, "library load_model", "{}"),
}
_LARGE_WAYS = ("ctc info", "ctc check --decode", "ctc decode", "plugin load")
_BOMB = 1 << 30
"""Bytes that a part of a file unpacks to."""
_SECONDS = 300
_SPACE = 16 << 30
"""Address space of every process: more is not there on the machines of most people."""
_MEMORY_LIMITS = (900, 750, *range(600, 40, -20))
"""Megabytes of address space."""
_TRIES = 2

Row = dict[str, Any]


def _row(group: str, case: str, way: str, nbytes: int, found: Watched, **more: Any) -> Row:
    return {
        "group": group,
        "case": case,
        "way": way,
        "bytes": nbytes,
        **more,
        "outcome": found.outcome,
        "seconds": round(found.seconds, 2),
        "peak_mb": round(found.peak / 1e6),
        "said": found.said[:200],
    }


class Trials:
    """Rows of all groups, made in a folder.

    only: rows whose group, case and way contain this.
    seconds: limit of each.
    """

    def __init__(self, folder: Path, only: str = "", seconds: float = _SECONDS) -> None:
        self._folder, self._only, self._seconds = folder, only, seconds

    def _wanted(self, group: str, case: str, way: str) -> bool:
        return self._only in f"{group} {case} {way}"

    def _run(self, command: tuple[str, ...], name: str, space: int = _SPACE) -> Watched:
        words = [name if word == "{}" else word for word in command]
        environment = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        return watched(words, self._folder, seconds=self._seconds, space=space, environment=environment)

    def ctc(self, side: int, large: bool) -> Iterator[Row]:
        """Rows of .ctc files."""
        model = load_model()
        cases = [(name, make, tuple(_CTC_WAYS)) for name, make in hostile_ctc.files(model, side, _BOMB)]
        if large:
            cases += [(name, make, _LARGE_WAYS) for name, make in hostile_ctc.large_files(model)]
        for case, make, ways in cases:
            ways = tuple(way for way in ways if self._wanted("ctc", case, way))
            if not ways:
                continue
            data = make()
            (self._folder / "hostile.ctc").write_bytes(data)
            for way in ways:
                found = self._run(_CTC_WAYS[way], "hostile.ctc")
                yield _row("ctc", case, way, len(data), found, pixels=_pixels(data))

    def images(self, side: int, large: bool) -> Iterator[Row]:
        """Rows of image files."""
        cases = [*hostile_images.files(side, _BOMB), *(hostile_images.large_files() if large else ())]
        for case, make in cases:
            name = "hostile" + Path(case).suffix
            for way, command in _IMAGE_WAYS.items():
                if self._wanted("image", case, way):
                    data = make()
                    (self._folder / name).write_bytes(data)
                    yield _row("image", case, way, len(data), self._run(command, name))

    def weights(self) -> Iterator[Row]:
        """Rows of weights files."""
        (self._folder / "small.ctc").write_bytes(hostile_ctc.idle_file(load_model(), 64, 64, 16))
        for case, data in hostile_weights.files():
            (self._folder / "w.safetensors").write_bytes(data)
            for way, command in _WEIGHTS_WAYS.items():
                if self._wanted("weights", case, way):
                    yield _row("weights", case, way, len(data), self._run(command, "w.safetensors"))

    def memory(self) -> Iterator[Row]:
        """Rows of encoding and decoding a picture of 1000x800 in less and less address space."""
        noise = np.random.default_rng(1).normal(0, 3, (800, 1000, 3))
        ramp = np.linspace(40, 200, 1000)[None, :, None]
        Image.fromarray((ramp + noise).clip(0, 255).astype(np.uint8)).save(self._folder / "noise.png")
        encode = (*CTC, "encode", "-f", "{}")
        self._run((*encode, "-o", "noise.ctc"), "noise.png")
        for way, name, command in (
            ("ctc encode", "noise.png", (*encode, "-o", "x.ctc")),
            ("ctc decode", "noise.ctc", (*CTC, "decode", "-f", "{}", "-o", "x.png")),
        ):
            size = (self._folder / name).stat().st_size
            for threads in (1, 2):
                for megabytes in _MEMORY_LIMITS:
                    case = f"{megabytes} MB, {threads} thread{'s' * (threads > 1)}"
                    if not self._wanted("memory", case, way):
                        continue
                    words = (*command, "--threads", str(threads))
                    for _ in range(_TRIES):
                        found = self._run(words, name, megabytes * 1_000_000)
                        yield _row("memory", case, way, size, found, limit_mb=megabytes, threads=threads)


def _pixels(data: bytes) -> int:
    try:
        header = Header.parse(data)[0]
    except CtcError:
        return 0
    return header.width * header.height


def main(arguments: list[str]) -> int:
    """Run the trials, print them, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", dest="output", type=Path, help=".json")
    parser.add_argument("--only", default="", help="rows whose group, case and way contain this")
    parser.add_argument("--groups", default="ctc image weights memory", help="some of these (default: all)")
    parser.add_argument("--side", type=int, default=1024, help="of the pictures that are declared, pixels")
    parser.add_argument("--seconds", type=float, default=_SECONDS, help="after which a process is ended")
    parser.add_argument("--large", action="store_true", help="pictures at the limit of pixels too")
    chosen = parser.parse_args(arguments)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        trials = Trials(Path(folder), chosen.only, chosen.seconds)
        groups = {
            "ctc": lambda: trials.ctc(chosen.side, chosen.large),
            "image": lambda: trials.images(chosen.side, chosen.large),
            "weights": trials.weights,
            "memory": trials.memory,
        }
        for group in chosen.groups.split():
            for row in groups[group]():
                rows.append(row)
                print(
                    f"{row['outcome']:9s} {row['seconds']:7.2f} s {row['peak_mb']:6d} MB  "
                    f"{row['group']}: {row['case']}, {row['bytes']} bytes, {row['way']}: {row['said']}",
                    flush=True,
                )
    content = record(summary(rows), rows)
    print("\n" + "\n".join(lines(content)))
    if chosen.output:
        write(chosen.output, content)
    return int(not rows or any(row["outcome"] in DEFECTS and row["group"] != "memory" for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
