"""Running the ``ctc`` command: in this process, where weights are loaded once, or as it is installed."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from ctc_codec.cli.main import main

_INSTALLED = shutil.which("ctc", path=str(Path(sys.executable).parent))
COMMAND = [_INSTALLED] if _INSTALLED else [sys.executable, "-m", "ctc_codec.cli"]


@dataclasses.dataclass(frozen=True)
class Result:
    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


def ctc(*args: object, stdin: bytes = b"") -> Result:
    """Run the command in this process."""
    done = CliRunner().invoke(main, [str(a) for a in args], input=stdin)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception  # a user would see a traceback
    return Result(done.exit_code, done.stdout_bytes, done.stderr)


def spawn(*args: object, **kwargs: object) -> subprocess.Popen[bytes]:
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen([*COMMAND, *map(str, args)], **{**pipes, **kwargs})  # type: ignore[call-overload]


def run(*args: object, stdin: bytes = b"", **kwargs: object) -> Result:
    """Run the installed command."""
    process = spawn(*args, **kwargs)
    out, err = process.communicate(stdin, timeout=120)
    return Result(process.returncode, out or b"", (err or b"").decode())


def run_shell(script: str, *args: object) -> Result:
    """Run a shell line in which "$@" is the command with its arguments."""
    done = subprocess.run(
        ["sh", "-c", script, "sh", *COMMAND, *map(str, args)], capture_output=True, timeout=120, check=False
    )
    return Result(done.returncode, done.stdout, done.stderr.decode())


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


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
