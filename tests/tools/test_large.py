"""Time and memory of the command on pictures of growing size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reliability.large import lines, main


@pytest.mark.slow
def test_larger_pictures_take_more(tmp_path: Path) -> None:
    out = tmp_path / "large.json"
    assert main(["--megapixels", "0.02,0.5", "-o", str(out)]) == 0
    content = json.loads(out.read_text())
    small, large = content["rows"]
    assert (small["megapixels"], large["megapixels"]) == pytest.approx((0.02, 0.5), rel=0.02)
    for step in ("encode", "decode", "a tenth", "thumbnail"):
        assert 20 < small[step]["peak_mb"] < 400
        assert 0 < small[step]["seconds"] < 120
    assert small["encode"]["peak_mb"] < large["encode"]["peak_mb"]
    assert len(lines(content)) == 4
