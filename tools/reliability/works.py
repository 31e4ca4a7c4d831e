"""What faults are tried on: commands, and what they write when nothing disturbs them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from PIL import Image, ImageFilter

from reliability.trial import Done, Files, Row, contents, left, run, trial_in
from reliability.watched import CTC

# Checkpoints come after every step instead of every two minutes.
_TRAIN = (
    sys.executable,
    "-c",
    "from ctc_codec.training import loop; from ctc_codec.cli import command;"
    "loop._SAVE_MINUTES = 0; command()",
    "train",
)
_SMALL = ("--crop", "64", "--batch", "1", "--device", "cpu", "--threads", "1")
_FEW = ("--codecs", "ctc,jpeg", "--metrics", "psnr", "--points", "0.3,1", "--no-times", "--jobs", "2")


@dataclasses.dataclass(frozen=True)
class Work:
    """A command that writes into a folder.

    name: for people.
    command: the words before the name of what is written.
    target: name of that in the folder; "" for the folder itself.
    same: names of the files, all by default, that are the same in every run.
    seconds: that it takes undisturbed.
    expected: what it writes then, by name.
    """

    name: str
    command: Sequence[str]
    target: str = ""
    same: tuple[str, ...] = ()
    seconds: float = 0.0
    expected: Files = dataclasses.field(default_factory=dict)

    def into(self, folder: Path) -> list[str]:
        """The whole command."""
        return [*self.command, str(folder / self.target) if self.target else str(folder)]

    def found(self, folder: Path) -> Files:
        """Of what is there the files that are to be the same in every run."""
        files = contents(folder)
        return {name: _sorted(data) for name, data in files.items() if not self.same or name in self.same}


@dataclasses.dataclass(frozen=True)
class Bench:
    """Where trials are made.

    folder: which belongs to them; its folder ``in`` has pictures.
    works: by their short names.
    rng: of all that is random.
    """

    folder: Path
    works: dict[str, Work]
    rng: random.Random

    @classmethod
    def make(cls, folder: Path, wanted: Iterable[str], seed: int) -> Bench:
        """Pictures, and the wanted works with what they write undisturbed. Raises RuntimeError."""
        for number in range(6):
            picture = _picture(96 + 16 * number, 80, random.Random(number))
            for name in ("in", "two")[: 2 if number < 2 else 1]:
                (folder / name).mkdir(exist_ok=True)
                picture.save(folder / name / f"{number}.png")
        made = cls(folder, {}, random.Random(seed))
        for name, make in WORKS.items():
            if name in wanted or name == "encode":
                made.works[name] = made._undisturbed(make(folder))
            if name == "encode":
                (folder / "x.ctc").write_bytes(made.works[name].expected["x.ctc"])
        return made

    def _undisturbed(self, work: Work) -> Work:
        with self.place() as place:
            done = run(work.into(place / "out"), place)
            if done.code:
                raise RuntimeError(f"{work.name} without any fault: {done.err}")
            return dataclasses.replace(work, seconds=done.seconds, expected=work.found(place / "out"))

    def place(self) -> contextlib.AbstractContextManager[Path]:
        """A folder for one trial, see :func:`reliability.trial.trial_in`."""
        return trial_in(self.folder)


def _sorted(data: bytes) -> bytes:
    """A safetensors file with its head in order, which safetensors leaves to chance; others as they are."""
    end = 8 + int.from_bytes(data[:8], "little")
    if data[8:9] != b"{" or end > len(data):
        return data
    try:
        return json.dumps(json.loads(data[8:end]), sort_keys=True).encode() + data[end:]
    except ValueError:
        return data


def _picture(width: int, height: int, rng: random.Random) -> Image.Image:
    """Spots of several sizes, RGB."""
    noise = Image.frombytes("RGB", (width, height), rng.randbytes(3 * width * height))
    rough, fine = (noise.filter(ImageFilter.GaussianBlur(radius)) for radius in (8, 1))
    return Image.blend(rough, fine, 0.3).point(lambda v: min(max(3 * v - 256, 0), 255))


WORKS: dict[str, Callable[[Path], Work]] = {
    "encode": lambda folder: Work("encode", [*CTC, "encode", str(folder / "in/0.png"), "-f", "-o"], "x.ctc"),
    "decode": lambda folder: Work("decode", [*CTC, "decode", str(folder / "x.ctc"), "-f", "-o"], "x.png"),
    "batch": lambda folder: Work(
        "encode, 6 files, 2 jobs",
        [*CTC, "encode", "-r", str(folder / "in"), "--jobs", "2", "--skip-existing", "-o"],
    ),
    "train": lambda folder: Work(
        "train",
        [*_TRAIN, str(folder / "in"), "--steps", "12", *_SMALL, "--run"],
        same=("ctc.safetensors",),
    ),
    "evaluate": lambda folder: Work(
        "evaluate", [*CTC, "evaluate", str(folder / "two"), *_FEW, "--quiet", "-o"]
    ),
}
"""By short names; their inputs are in a folder."""


def refused(row: Row, done: Done, place: Path, *words: str) -> None:
    """See that a command ended with one line and left nothing unfinished."""
    lines = done.err.splitlines()
    row.expect(done.code == 1, f"exit code {done.code}")
    row.expect(any(word in done.err for word in words), f"other words: {done.err[-300:]}")
    row.expect("Traceback" not in done.err and "internal error" not in done.err, "an error of Python")
    row.expect(lines and lines[-1].startswith("ctc: "), f"the last line is {lines[-1:]}")
    row.expect(not left(place), "an unfinished file is left")


def whole(row: Row, work: Work, out: Path, what: str) -> None:
    """See that of the files which every run writes alike, each one is whole."""
    for name, data in work.found(out).items():
        row.expect(data == work.expected.get(name), f"{what}: {name} is half or another")


def undisturbed(row: Row, work: Work, done: Done, out: Path) -> None:
    """See that a command did what it does undisturbed."""
    row.expect(done.code == 0, f"exit code {done.code}: {done.err[-300:]}")
    row.expect(work.found(out) == work.expected, "other files than undisturbed")
    row.expect(not left(out), "an unfinished file is left")
