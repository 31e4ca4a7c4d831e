"""The command beside a soak: folders with two jobs, to known results, interrupted and killed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from reliability.soak_works import Wrong, pictures
from reliability.trial import Done, Files, contents, end, ended, left, run, start, trial_in
from reliability.watched import CTC


class Commands:
    """Commands by name, to be called with a random generator, by one thread. Each raises Wrong."""

    def __init__(self, folder: Path, files: Files) -> None:
        """Write the inputs, and make the known results.

        files: whole .ctc files of the pictures, by the pictures' names.
        """
        self._folder = folder
        for name in ("in", "ctc"):
            (folder / name).mkdir()
        for name, picture in pictures().items():
            picture.save(folder / f"in/{name}.png")
            (folder / f"ctc/{name}.ctc").write_bytes(files[name])
        (folder / "ctc/bad.ctc").write_bytes(b"no file of ours, but long enough to be one" * 9)
        self._encode = [*CTC, "encode", "-r", str(folder / "in"), "--jobs", "2", "-o"]
        self._decode = [*CTC, "decode", "-r", str(folder / "ctc"), "--jobs", "2", "-o"]
        self._encoded = {f"{name}.ctc": data for name, data in files.items()}
        self._decoded: Files = {}
        self.all: dict[str, Callable[[random.Random], None]] = {
            "ctc encode": self.encode,
            "ctc decode with a bad file": self.decode,
            "ctc truncate and check": self.check,
            "ctc interrupted": self.interrupted,
            "ctc killed": self.killed,
        }
        for work in (self.encode, self.decode, self.check):
            work(random.Random(0))

    def encode(self, rng: random.Random) -> None:
        """A folder, to the bytes that the library gives."""
        with trial_in(self._folder) as place:
            done = run([*self._encode, place / "out"], place)
            _expect(done.code == 0, f"encode exits with {done.code}: {done.err}")
            _expect(contents(place / "out") == self._encoded, "encode: other files")
            _expect(not left(place), "encode: unfinished files are left")

    def decode(self, rng: random.Random) -> None:
        """A folder with a file that is none."""
        with trial_in(self._folder) as place:
            done = run([*self._decode, place / "out"], place)
            _expect(done.code == 1, f"decode exits with {done.code}: {done.err}")
            _expect("1 of 5 inputs failed: " in done.err, f"decode: other words: {done.err}")
            found = contents(place / "out")
            self._decoded = self._decoded or found
            _expect(len(found) == 4 and found == self._decoded, "decode: other files")

    def check(self, rng: random.Random) -> None:
        """A cut of every file, verified."""
        with trial_in(self._folder) as place:
            sources = [str(self._folder / "ctc" / name) for name in self._encoded]
            done = run([*CTC, "truncate", *sources, "--bytes", "500", "-o", f"{place}/out/"], place)
            _expect(done.code == 0, f"truncate exits with {done.code}: {done.err}")
            cut = contents(place / "out")
            _expect(cut == {k: v[:500] for k, v in self._encoded.items()}, "truncate: other files")
            done = run([*CTC, "check", *sorted((place / "out").iterdir())], place)
            _expect(done.code == 0, f"check exits with {done.code}: {done.err}")

    def _struck(self, number: signal.Signals, rng: random.Random) -> None:
        """The work is ended; what there is is whole, and no process outlives it."""
        with trial_in(self._folder) as place:
            process = start([*self._encode, place / "out"], place)
            time.sleep(rng.random() * 3)
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)
            done = end(process, place)
            _expect(ended(process.pid), "processes outlive the command")
            for name, data in contents(place / "out").items():
                _expect(data == self._encoded[name], f"{name} is half after {number.name}")
            if number != signal.SIGKILL:
                _expect(not left(place), "an interrupted command leaves unfinished files")
                early = number == signal.SIGINT and _while_starting(done)
                codes = (0, 128 + number, -number)
                _expect(early or done.code in codes, f"exit code {done.code}: {done.err}")

    def interrupted(self, rng: random.Random) -> None:
        """By ^C or a polite end."""
        self._struck(rng.choice([signal.SIGINT, signal.SIGTERM]), rng)

    def killed(self, rng: random.Random) -> None:
        self._struck(signal.SIGKILL, rng)


def _while_starting(done: Done) -> bool:
    """Whether ^C came before there was a handler: then Python says its own words, and may exit with 1."""
    return done.code == 1 and ("init_" in done.err or "runpy" in done.err)


def _expect(true: object, otherwise: str) -> None:
    if not true:
        raise Wrong(otherwise)
