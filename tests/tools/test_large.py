"""Time and memory of the command on pictures of growing size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reliability import large
from reliability.large import lines, main


@pytest.mark.slow
def test_larger_pictures_take_more(tmp_path: Path) -> None:
    out = tmp_path / "large.json"
    assert main(["--megapixels", "0.02,0.5", "-o", str(out)]) == 0
    content = json.loads(out.read_text())
    small, more = content["rows"]
    assert (small["megapixels"], more["megapixels"]) == pytest.approx((0.02, 0.5), rel=0.02)
    for step in ("encode", "decode", "a tenth", "thumbnail"):
        assert 20 < small[step]["peak_mb"] < 400
        assert 0 < small[step]["seconds"] < 120
    assert small["encode"]["peak_mb"] < more["encode"]["peak_mb"]
    assert len(lines(content)) == 6


@pytest.mark.parametrize(("peak_mb", "code"), [(800, 0), (801, 1)])
def test_too_much_memory_is_a_defect(
    peak_mb: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(image: object, megapixels: float, folder: Path) -> dict[str, Any]:
        steps = {
            step: {"seconds": 1.0, "peak_mb": 100} for step in ("encode", "decode", "a tenth", "thumbnail")
        }
        steps["decode"]["peak_mb"] = peak_mb if megapixels == 10 else 100
        return {"megapixels": megapixels, "bpp": 1.0, **steps}

    monkeypatch.setattr(large, "measure", measured)
    assert main(["--megapixels", "1,10"]) == code
    assert "The largest picture took 60 bytes a pixel beside 200 MB" in capsys.readouterr().out
