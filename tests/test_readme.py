"""The documents' commands and Python run as they stand, and print what the documents say; figures are those
of the committed results."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click import Command as ClickCommand
from click import Group
from click.testing import CliRunner

from ctc_codec.cli.main import main
from ctc_codec.codec.model import default_weights
from readme_figures import ABLATION_BEGIN, BEGIN, ROOT, renewed
from support import readme_shell
from support.readme_shell import DOCUMENTS, README, Shell, commands, furnish, python_blocks
from support.servers import served


def _case(path: Path, text: object) -> Any:
    """Those of README are fast enough to run at every step of work."""
    return pytest.param(path, text, marks=[] if path == README else pytest.mark.slow)


TEXTS = {path: path.read_text() for path in DOCUMENTS}
COMMANDS = [_case(path, command) for path, text in TEXTS.items() for command in commands(text)]
LONG = [(path, line) for path, text in TEXTS.items() for line in re.findall(r"^    (ctc .*)$", text, re.M)]
"""Without a prompt: the documents do not show what they print."""
BLOCKS = [_case(path, block) for path, text in TEXTS.items() for block in python_blocks(text)]
NAMES = sorted(set(main.commands) - {"fake"})
"""Less what a test of batches adds."""
_SHORT = {
    "--minutes 60": "--steps 2 --batch 1 --crop 64",
    "ctc evaluate ": "ctc evaluate --codecs ctc,jpeg --metrics psnr --no-times ",
}

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@pytest.fixture(scope="module")
def shell_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], Shell]]:
    """One folder for each document: its later commands use what earlier ones made."""
    with contextlib.ExitStack() as servers:

        @functools.cache
        def shell(document: Path) -> Shell:
            folder = tmp_path_factory.mktemp(document.stem)
            furnish(folder)
            return Shell(servers.enter_context(served(folder)))

        yield shell


def _shape(lines: list[str]) -> list[str]:
    """Lines without their figures, which depend on weights and machines."""
    return [re.sub(r"\s+", " ", re.sub(r"\d+(\.\d+)?", "#", line)).strip() for line in lines]


def _name(value: object) -> str:
    """For the id of a test."""
    if isinstance(value, readme_shell.Command):
        return value.text
    return value.stem if isinstance(value, Path) else str(value).splitlines()[0]


@needs_bash
@pytest.mark.parametrize(("document", "command"), COMMANDS, ids=_name)
def test_command_does_what_the_document_shows(
    shell_of: Callable[[Path], Shell], document: Path, command: readme_shell.Command
) -> None:
    if command.text.startswith("curl") and shutil.which("curl") is None:
        pytest.skip("needs curl")
    shell = shell_of(document)
    shell.site.forget()
    code, printed = shell.run(command.text)
    assert code == 0, printed
    shown, now = _shape(command.printed), _shape(printed)
    if "--jobs" in command.text:  # as they are done
        shown, now = sorted(shown), sorted(now)
    if command.text.startswith("ctc info"):  # the number of rows depends on the bytes
        shown, now = sorted(set(shown)), sorted(set(now))
    assert now == shown
    if wanted := re.search(r"curl .*-r (\d+-\d+)", command.text):
        assert [line.split()[2:] for line in shell.site.asked] == [[wanted[1]]]


@needs_bash
@pytest.mark.slow
@pytest.mark.parametrize(("document", "text"), LONG, ids=_name)
def test_command_that_takes_long_runs_when_made_short(
    shell_of: Callable[[Path], Shell], document: Path, text: str
) -> None:
    for long, short in _SHORT.items():
        text = text.replace(long, short)
    code, printed = shell_of(document).run(text)
    assert code == 0, printed


@needs_bash
@pytest.mark.parametrize(("document", "block"), BLOCKS, ids=_name)
def test_python_runs(shell_of: Callable[[Path], Shell], document: Path, block: str) -> None:
    script = f"rm -f photo.ctc; {sys.executable} - <<'END'\n{block}END"
    assert shell_of(document).run(script) == (0, [])


def test_documents_name_every_command_and_option() -> None:
    """And no option that there is not."""
    assert isinstance(main, Group)
    text = "\n".join(TEXTS.values())
    described = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text))
    known: set[str] = set()
    for name in NAMES:
        command = main.commands[name]
        assert f"`{name}" in text or f"ctc {name}" in text, name
        for parameter in command.params:
            if getattr(parameter, "hidden", False):
                continue
            options = _options(command, parameter.name)
            assert not options[0].startswith("-") or described.intersection(options), (name, options)
            known |= set(options)
    foreign = {"--help", "--version", "--index-url", "--nproc-per-node", "--head", "--port"}
    assert {option for option in described if option.startswith("--")} - known - foreign == set()


def test_table_of_common_options_is_true() -> None:
    """But for evaluate and train, whose options are told elsewhere."""
    assert isinstance(main, Group)
    table = TEXTS[ROOT / "docs" / "USAGE.md"].split("| common option |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| (`-[^|]*) \| ([^|]*) \|", table, re.M)
    assert len(rows) == 16
    for options, names in rows:
        for option in re.findall(r"`([^`]*)`", options):
            having = {
                name
                for name in set(NAMES) - {"evaluate", "train"}
                if any(option in _options(main.commands[name], p.name) for p in main.commands[name].params)
            }
            assert set(re.findall(r"`([^`]*)`", names)) == having, option


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


def test_documents_say_what_the_committed_results_say() -> None:
    found = {path: path.read_text() for path, _ in renewed()}
    assert dict(renewed()) == found
    readme, full = found[ROOT / "README.md"], found[ROOT / "docs" / "RESULTS.md"]
    assert readme.count(BEGIN) == full.count(BEGIN) == full.count(ABLATION_BEGIN) == 1


def test_committed_ablation_is_of_the_committed_weights() -> None:
    ablation = json.loads((ROOT / "docs" / "ablation.json").read_text())
    assert [row["label"] for row in ablation["efforts"]] == list("123456789")
    assert ablation["weights"] == hashlib.sha256(default_weights().read_bytes()).hexdigest()


def test_committed_figures_of_serving_are_of_the_committed_weights() -> None:
    serving = json.loads((ROOT / "docs" / "serving.json").read_text())
    assert serving["weights"] == hashlib.sha256(default_weights().read_bytes()).hexdigest()


@pytest.mark.parametrize("path", [*DOCUMENTS, *map(ROOT.__truediv__, ["CONTRIBUTING.md", "CHANGELOG.md"])])
def test_links_lead_somewhere(path: Path) -> None:
    """Files that a document links to are there, and so are their headings."""
    for place, heading in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", path.read_text()):
        target = path.parent / place if place else path
        assert target.exists(), place
        if heading:
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.M)
            anchors = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
            assert heading in anchors, f"{place}#{heading}"
