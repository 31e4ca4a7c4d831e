"""Running the ``ctc`` command: in this process, where weights are loaded once, as it is installed, or with
works that need no model (see batch_works.py); and what tests ask of its folders and processes."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner
from PIL import Image

from ctc_codec.cli.main import main

from .streams import plain

_INSTALLED = shutil.which("ctc", path=str(Path(sys.executable).parent))
COMMAND = [_INSTALLED] if _INSTALLED else [sys.executable, "-m", "ctc_codec.cli"]
FAKE = [sys.executable, str(Path(__file__).with_name("batch_works.py")), "fake"]
"""The command with works that need no model."""
PLAIN = plain(300_000)
"""What is in plain.ctc: no weights decode it, it can be cut and described, and is more than a pipe holds."""
TRUNCATE = ("truncate", "plain.ctc", "--bytes", "200000")
SUMMARY = re.compile(
    r"ctc: (\d+) done, (\d+) failed, (\d+) skipped, [\d.]+ (bytes|kB|MB) of \.ctc, [\d.]+ s"
    r"(, [\d.]+ files/s, [\d.]+ Mpixel/s)?"
)


@dataclasses.dataclass(frozen=True)
class Result:
    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Of --json."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def counts(self) -> tuple[int, ...]:
        """done, failed and skipped of the line that sums up."""
        (found,) = filter(None, map(SUMMARY.fullmatch, self.lines))
        return tuple(map(int, found.groups()[:3]))


# --- running ----------------------------------------------------------------------------------------


def ctc(*args: object, stdin: bytes = b"") -> Result:
    """Run the command in this process."""
    done = CliRunner().invoke(main, [str(a) for a in args], input=stdin)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception  # a user would see a traceback
    return Result(done.exit_code, done.stdout_bytes, done.stderr)


def begin(command: list[str], *args: object, **kwargs: object) -> subprocess.Popen[bytes]:
    """Start another process, with pipes."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen([*command, *map(str, args)], **{**pipes, **kwargs})  # type: ignore[call-overload]


def ended(process: subprocess.Popen[bytes], stdin: bytes = b"") -> Result:
    """The result of a process, which reads these bytes."""
    out, err = process.communicate(stdin, timeout=120)
    return Result(process.returncode, out or b"", (err or b"").decode())


def first_line(process: subprocess.Popen[bytes]) -> str:
    """Of its words."""
    assert process.stderr is not None
    return process.stderr.readline().decode()


def rest(process: subprocess.Popen[bytes]) -> Result:
    """The result of a process of which lines were read."""
    assert process.stderr is not None
    err = process.stderr.read().decode()
    return Result(process.wait(timeout=60), b"", err)


def spawn(*args: object, **kwargs: object) -> subprocess.Popen[bytes]:
    """Start the installed command."""
    return begin(COMMAND, *args, **kwargs)


def run(*args: object, stdin: bytes = b"", **kwargs: object) -> Result:
    """Run the installed command."""
    return ended(spawn(*args, **kwargs), stdin)


def fake(*args: object, **kwargs: object) -> Result:
    """Run the command with works that need no model."""
    return ended(begin(FAKE, *args, **kwargs))


def python(script: str, *args: object, **kwargs: object) -> subprocess.Popen[bytes]:
    """Start a script in another process."""
    return begin([sys.executable, "-c", script], *args, **kwargs)


def run_shell(script: str, *args: object) -> Result:
    """Run a shell line in which "$@" is the command with its arguments."""
    return ended(begin(["bash", "-o", "pipefail", "-c", script, "bash", *COMMAND], *args))


# --- what there is ----------------------------------------------------------------------------------


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def files_below(folder: Path) -> list[str]:
    """Paths of all files, hidden ones too."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


def touch(*paths: str | Path) -> None:
    """Make empty files, and folders for them."""
    for path in map(Path, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def pixels(image: bytes | str | Path) -> np.ndarray:
    """Samples of an image file."""
    return np.asarray(Image.open(io.BytesIO(image) if isinstance(image, bytes) else image))


def wait_until(true: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def assert_refused(result: Result, *words: str, lines: int = 1) -> None:
    """Exit code 1 and one line that says why, without our insides."""
    assert result.code == 1, result
    assert len(result.lines) == lines, result.err
    assert "Traceback" not in result.err
    assert "internal error" not in result.err
    assert all(line.startswith("ctc: ") for line in result.lines), result.err
    for word in words:
        assert word in result.err


def assert_misused(result: Result, *words: str) -> None:
    """Exit code 2, one line."""
    assert result.code == 2, result
    assert len(result.lines) == 1, result.err
    assert result.out == b""
    for word in words:
        assert word in result.err
