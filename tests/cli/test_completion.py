"""``ctc completion``: scripts for shells, and what they complete."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from support.command import COMMAND, ctc


@pytest.mark.parametrize(
    ("shell", "word"),
    [("bash", "complete -o nosort"), ("zsh", "#compdef ctc"), ("fish", "complete --no-files --command ctc")],
)
def test_completion_scripts(shell: str, word: str) -> None:
    result = ctc("completion", shell)
    assert result.code == 0
    assert word in result.out.decode()
    assert "_CTC_COMPLETE" in result.out.decode()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("ctc enc", ["encode"]),
        ("ctc decode --thumb", ["--thumbnail"]),
        ("ctc encode a.png --eff", ["--effort"]),
        ("ctc completion z", ["zsh"]),
    ],
)
def test_bash_completes(words: str, wanted: list[str]) -> None:
    script = (
        'compopt() { :; }; source <("$0" completion bash); read -ra COMP_WORDS <<< "$1"; '
        'COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 )); _ctc_completion "$0"; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    if len(COMMAND) > 1:
        pytest.skip("ctc is not installed")
    done = subprocess.run(
        ["bash", "-c", script, *COMMAND, words], capture_output=True, check=True, timeout=60
    )
    assert done.stdout.decode().split() == wanted


@pytest.mark.parametrize(
    "words", ["ctc encode a", "ctc encode -o a", "ctc decode b a", "ctc info --weights a"]
)
def test_file_names_are_completed(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.setenv("_CTC_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    result = ctc()
    assert (result.code, result.out) == (0, b"file,a\n")
