"""Where a row is run: a copy of the files, commands as a user types them, and what was wrong with what they
did."""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

_BIN = Path(sys.executable).parent
_LIMIT_SECONDS = 120
_BASH = frozenset("|<>;&$()*?[]{}~`")
"""With any of these a line is for bash alone."""


@dataclass(frozen=True)
class Done:
    """A command that has ended: its exit code, its output, its words, and the seconds that it took."""

    code: int
    out: str
    err: str
    seconds: float

    def says(self, *patterns: str) -> bool:
        """Whether each pattern is found in its words or its output, in upper or lower case."""
        return all(re.search(pattern, self.err + self.out, re.IGNORECASE) for pattern in patterns)

    @property
    def last_line(self) -> str:
        """Of its words, or of its output if it said nothing."""
        return ["", *(self.err or self.out).strip().splitlines()][-1]


Command = Callable[[list[str], Path], Done]


@dataclass
class Place:
    """A folder with the files of all cases, and what was found wrong in it.

    patience: times a row's limit in seconds, for a busy machine.
    ctc: runs the command in this process, from its arguments and the folder; None for processes.
    """

    folder: Path
    patience: float = 1.0
    ctc: Command | None = None
    wrong: list[str] = field(default_factory=list)

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def expect(self, right: bool, words: object) -> bool:
        """Note what is wrong unless it is right; and whether it is."""
        if not right:
            self.wrong.append(str(words))
        return right

    # Commands

    def shell(self, line: str, **variables: str) -> Done:
        """A line of bash; ``ctc`` and ``python`` are those of this environment."""
        path = os.pathsep.join([str(_BIN), os.environ.get("PATH", "")])
        if self.ctc is not None and not variables and line.startswith("ctc ") and not set(line) & _BASH:
            return self._sound(line, self.ctc(shlex.split(line)[1:], self.folder))
        start = time.perf_counter()
        process = subprocess.Popen(
            ["bash", "-c", line], cwd=self.folder, env={**os.environ, "PATH": path, **variables},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        try:
            out, err = process.communicate(timeout=_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            out, err = process.communicate()
            self.expect(False, f"no end after {_LIMIT_SECONDS} s: {line}")
        seconds = time.perf_counter() - start
        words = out.decode(errors="replace"), err.decode(errors="replace")
        return self._sound(line, Done(process.returncode, *words, seconds))

    def _sound(self, line: str, done: Done) -> Done:
        self.expect(not done.says("traceback|internal error"), f"{line}: {done.last_line}")
        return done

    def works(self, line: str, **variables: str) -> Done:
        """A line of bash that ends with 0."""
        done = self.shell(line, **variables)
        self.expect(done.code == 0, f"exit {done.code}: {line}: {done.last_line}")
        return done

    def fails(self, line: str, code: int, *patterns: str) -> Done:
        """A line of bash that ends with a code, and with words that have the patterns."""
        done = self.shell(line)
        self.expect(done.code == code, f"exit {done.code}, not {code}: {line}: {done.last_line}")
        for pattern in patterns:
            self.expect(done.says(pattern), f"{line}: no {pattern!r} in {done.last_line!r}")
        return done

    def soon(self, seconds: float, done: Done, what: str) -> None:
        """Expect it to have taken no longer."""
        limit = seconds * self.patience
        self.expect(done.seconds <= limit, f"{what}: {done.seconds:.2f} s, more than {limit:g}")

    def renamed(self, name: str) -> str:
        """A copy whose name says nothing, so that what is looked for in a note is not found in the name."""
        plain = f"input{Path(name).suffix}"
        shutil.copy(self.folder / name, self.folder / plain)
        return plain

    def there_and_back(self, name: str, options: str = "", suffix: str = "png") -> tuple[Done, Image.Image]:
        """What encoding says of a copy of a file, and the picture that comes back; an empty one without."""
        (self.folder / f"x.{suffix}").unlink(missing_ok=True)
        done = self.works(f"ctc encode -f {options} {self.renamed(name)} -o x.ctc")
        if done.code == 0:
            self.works(f"ctc decode -f x.ctc -o x.{suffix}")
        return done, self.picture(f"x.{suffix}")

    # Pictures

    def picture(self, name: str) -> Image.Image:
        """An image file, loaded; an empty picture, which is noted, where there is none."""
        try:
            with Image.open(self.folder / name) as image:
                image.load()
                return image
        except OSError as error:
            self.expect(False, f"{name}: {error}")
            return Image.new("RGB", (1, 1))

    def colour(self, image: Image.Image, right: tuple[int, ...], what: str) -> None:
        """Expect means of the channels, give or take 3."""
        means = tuple(
            round(float(mean)) for mean in samples(image).reshape(-1, len(image.getbands())).mean(0)
        )
        near = len(means) == len(right) and all(abs(a - b) <= 3 for a, b in zip(means, right, strict=True))
        self.expect(near, f"{what}: {image.mode} {means}, not {right}")

    def at_least(self, dB: float, one: Image.Image, other: Image.Image, what: str) -> None:
        """Expect a PSNR."""
        if self.expect(one.size == other.size, f"{what}: {one.size}, not {other.size}"):
            found = psnr(samples(one.convert("RGB")), samples(other.convert("RGB")))
            self.expect(found >= dB, f"{what}: {found:.2f} dB, not {dB:g}")


def samples(image: Image.Image) -> npt.NDArray[np.float64]:
    """As [height, width] or [height, width, channels]."""
    return np.asarray(image).astype(np.float64)


def psnr(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """In dB, of samples from 0 to 255."""
    error = float(np.mean((one - other) ** 2))
    return 10 * math.log10(255**2 / error) if error else math.inf
