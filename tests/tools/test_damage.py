"""The tool that damages files and counts what is found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import ctc_codec
from ctc_codec.container.blocks import BLOCK_BYTES, BLOCK_DATA, frame
from reliability import damage
from reliability.damage import Row, main


def test_what_a_byte_does_to_check_sums_is_as_blocks_have_it() -> None:
    table = damage._remainders()
    data = frame(bytes(BLOCK_DATA))
    for at in (0, 1, 700, BLOCK_DATA - 1, BLOCK_DATA, BLOCK_BYTES - 1):
        for flip in (1, 128, 255):
            wrong = damage._changed(data, at, flip)
            computed = int.from_bytes(frame(wrong[:BLOCK_DATA])[-2:], "big")
            assert table[at, flip] == computed ^ int.from_bytes(wrong[-2:], "big")


def test_single_bytes_and_code_words_are_found_and_cuts_are_not(model: ctc_codec.CodecModel) -> None:
    data = damage.small_files(model)["L"]
    assert damage.read(data) is not None
    wrong = [damage._changed(data, at, 16) for at in range(len(data))]
    assert damage._row("bytes", wrong) == Row("bytes", len(data), 0)
    assert damage._row("nothing", [data, data]) == Row("nothing", 2, 2)
    assert damage.cuts_taken_for_damage(model).missed == 0
    assert damage.wrong_code_words(model, np.random.default_rng(1), 5).missed == 0


def test_bytes_in_one_place_are_not_tried() -> None:
    pairs, *_, sixteen = damage.bytes_of_a_block(np.random.default_rng(1), 40_000)
    assert 30_000 < sixteen.tried < pairs.tried < 40_000


@pytest.mark.parametrize("promised", [True, False])
def test_broken_promises_are_told(promised: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(*_: object) -> Iterator[Row]:
        yield Row("one of two", 2, 1, promised)

    monkeypatch.setattr(damage, "bytes_changed", found)
    monkeypatch.setattr(damage, "wrong_code_words", lambda *_: Row("words", 1, 0))
    out = tmp_path / "damage.json"
    assert main(["--samples", "400", "-o", str(out)]) == promised
    content = json.loads(out.read_text())
    assert content["summary"]["broken"] == promised
    assert "| one of two | 2 | all but 1 (5.0e-01) |" in damage.lines(content)
