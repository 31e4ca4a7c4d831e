"""The same file gives the same latent under every setting of the machine: the quick part of
``make exactness``."""

from __future__ import annotations

from pathlib import Path

import pytest

from exactness import cells as exactness_cells
from exactness.cells import AGREED, CELLS, DISAGREED, FAILED, NOT_HERE, Cell, run


@pytest.mark.slow
@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.quick], ids=lambda cell: cell.name)
def test_golden_latents(cell: Cell) -> None:
    result = run(cell)
    # Not here: the latents were the same, but the setting could not be what it is elsewhere.
    assert result.verdict in (AGREED, NOT_HERE), (result.note, result.differing)


@pytest.mark.slow
def test_latents_that_differ_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {name: dict(cuts) for name, cuts in exactness_cells.expected_hashes().items()}
    name, cuts = next(iter(expected.items()))
    cut = next(iter(cuts))
    cuts[cut] = "0" * 64
    monkeypatch.setattr(exactness_cells, "expected_hashes", lambda: expected)
    result = run(CELLS[0])
    assert result.verdict == DISAGREED
    assert result.differing == (f"{name} at {cut}",)


def test_a_process_that_fails_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(exactness_cells, "SOURCE", tmp_path)
    (tmp_path / "ctc_codec.py").write_text("raise SystemExit('no codec here')\n")
    result = run(CELLS[0])
    assert result.verdict == FAILED
    assert "no codec here" in result.note
