"""README's commands and Python run as they stand, and print what it says."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click import Command as ClickCommand
from click import Group
from click.testing import CliRunner

from ctc_codec.cli.main import main
from support import readme_shell
from support.readme_shell import README, Shell, commands, furnish, python_blocks, served

TEXT = README.read_text()
COMMANDS = commands(TEXT)

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """One folder for all: later commands use what earlier ones made."""
    folder = tmp_path_factory.mktemp("readme")
    furnish(folder)
    with served(folder) as site:
        yield Shell(folder, site)


def _shape(lines: list[str]) -> list[str]:
    """Lines without their figures, which depend on weights and machines."""
    return [re.sub(r"\s+", " ", re.sub(r"\d+(\.\d+)?", "#", line)).strip() for line in lines]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.text)
def test_command_does_what_readme_shows(command: readme_shell.Command, shell: Shell) -> None:
    if command.text.startswith("curl") and shutil.which("curl") is None:
        pytest.skip("needs curl")
    code, printed = shell.run(command.text)
    assert code == 0, printed
    shown, now = _shape(command.printed), _shape(printed)
    if "--jobs" in command.text:  # as they are done
        shown, now = sorted(shown), sorted(now)
    if command.text.startswith("ctc info"):  # the number of rows depends on the bytes
        shown, now = sorted(set(shown)), sorted(set(now))
    assert now == shown


_LITTLE = "evaluate kodak/ --codecs ctc,jpeg --metrics psnr --no-times"
NAMES = sorted(set(main.commands) - {"fake"})
"""Less what a test of batches adds."""
LONG = re.findall(r"^    (ctc .*)$", TEXT, re.MULTILINE)
"""Without a prompt: README does not show what they print."""


@pytest.mark.parametrize("text", LONG)
def test_command_that_takes_long_runs_when_made_short(text: str, shell: Shell) -> None:
    code, printed = shell.run(
        text.replace("--minutes 60", "--steps 2 --batch 1 --crop 64").replace("evaluate photos/", _LITTLE)
    )
    assert code == 0, printed


@pytest.mark.parametrize("number", range(len(python_blocks(TEXT))))
def test_python_runs(number: int, shell: Shell, tmp_path: Path) -> None:
    script = tmp_path / "block.py"
    script.write_text(python_blocks(TEXT)[number])
    assert shell.run(f"rm -f photo.ctc; {sys.executable} {script}") == (0, [])


def test_curl_asked_for_a_range() -> None:
    assert "bytes=0-9999" in readme_shell._Ranges.asked


def test_readme_names_every_command_and_option() -> None:
    """And no option that there is not."""
    assert isinstance(main, Group)
    known: set[str] = set()
    for name in NAMES:
        command = main.commands[name]
        assert f"`{name}" in TEXT or f"ctc {name}" in TEXT, name
        known |= {option for parameter in command.params for option in _options(command, parameter.name)}
    described = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", TEXT))
    foreign = {"--help", "--nproc-per-node"}
    assert described - known - foreign == set()


def _options(command: ClickCommand, name: str | None) -> list[str]:
    parameter = next(p for p in command.params if p.name == name)
    return [*parameter.opts, *parameter.secondary_opts]


@pytest.mark.parametrize("name", NAMES)
def test_every_help_has_examples_that_parse(name: str) -> None:
    """What follows ``ctc NAME`` in an example is made of options that the command has."""
    assert isinstance(main, Group)
    done = CliRunner().invoke(main, [name, "--help"], terminal_width=100)
    assert done.exit_code == 0
    examples = re.findall(rf"ctc {name}\b([^#|>\n]*)", done.output.split("Options:")[1])
    assert examples, "no examples"
    command = main.commands[name]
    known = {option for parameter in command.params for option in _options(command, parameter.name)}
    for example in examples:
        used = re.findall(r"(?<!\S)--?[a-z][a-z-]*", example)
        assert set(used) <= known, example
