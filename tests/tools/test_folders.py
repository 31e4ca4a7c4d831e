"""Tools that take a folder of photographs: prefixes and large images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import ctc_codec
from large import main as measure_large
from prefixes import is_prefix
from prefixes import main as check_prefixes
from support.coding import latent_of
from support.pictures import photograph


@pytest.mark.slow
def test_large_images_are_measured(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "large.json"
    result = CliRunner().invoke(measure_large, [str(folder), "--megapixels", "0.02,0.1", "-o", str(out)])
    assert result.exit_code == 0, result.output
    small, large = json.loads(out.read_text())
    assert (small["megapixels"], large["megapixels"]) == pytest.approx((0.02, 0.1), rel=0.02)
    assert 20 < small["encode_mb"] < large["encode_mb"]
    assert 0 < small["decode_s"] < 120
    assert len(result.output.splitlines()) == 4


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
def test_prefixes_of_photographs_are_checked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(check_prefixes, [str(folder), "--cuts", "3"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("8 cuts, 0 broken promises")
    monkeypatch.setattr("prefixes.is_prefix", lambda latent, later: latent is later)
    result = CliRunner().invoke(check_prefixes, [str(folder), "--cuts", "3"])
    assert result.exit_code == 1
    assert "tall.png at byte " in result.output
