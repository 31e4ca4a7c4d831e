"""Whether cuts of files are prefixes, by the tool that tries a folder of photographs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ctc_codec
from reliability.prefixes import is_prefix, lines, main
from support.coding import latent_of
from support.pictures import photograph


def test_latents_of_cuts_are_prefixes_and_others_are_not(model: ctc_codec.CodecModel) -> None:
    data = ctc_codec.encode(Image.fromarray(photograph(256, 192)), weights=model)
    cuts = [latent_of(data[:count], model) for count in (60, 700, 3000, len(data))]
    for i, early in enumerate(cuts):
        for j, later in enumerate(cuts):
            assert is_prefix(early, later) == (i <= j), (i, j)
    changed = latent_of(data[:3000], model)
    at = np.flatnonzero(changed.state.known)[-1]
    changed.state.value[at] += 1
    assert not is_prefix(changed, cuts[-1])


@pytest.mark.slow
def test_prefixes_of_photographs_are_checked(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "prefixes.json"
    assert main([str(folder), "--cuts", "3", "-o", str(out)]) == 0
    found = json.loads(out.read_text())
    assert (found["summary"]["cuts"], found["summary"]["broken"]) == (8, 0)
    assert "no broken promises" in lines(found)[0]
    monkeypatch.setattr("reliability.prefixes.is_prefix", lambda latent, later: latent is later)
    assert main([str(folder), "--cuts", "3"]) == 1
    assert "tall.png at byte " in capsys.readouterr().err
