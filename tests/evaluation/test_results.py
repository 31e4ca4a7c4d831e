"""Curves, means over images, tables, and the committed results."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ctc_codec import InputError
from ctc_codec.evaluation.bd_rate import Curve, bd_rate, published_curves, rate_difference
from ctc_codec.evaluation.codecs import Ctc
from ctc_codec.evaluation.images import EvaluationImage
from ctc_codec.evaluation.measure import Measured
from ctc_codec.evaluation.peers import Jpeg2000
from ctc_codec.evaluation.results import Results, assemble, is_kodak, mean_points
from ctc_codec.evaluation.tables import difference_table, rate_table, whole_line

ROOT = Path(__file__).parents[2]
Points = list[dict[str, Any]]


def _point(asked: float | None, nbytes: int, value: float) -> dict[str, Any]:
    return {"asked": asked, "nbytes": nbytes, "bpp": nbytes / 1000, "psnr": value}


def _assembled(rows: dict[str, Points]) -> Results:
    """A document about one image."""
    codecs = [codec for codec in (Ctc(Path("weights")), Jpeg2000()) if codec.name in rows]
    measured = Measured({name: {"a": points} for name, points in rows.items()}, {"avif": "not here"})
    return assemble([EvaluationImage("a", Path("a.png"), 80, 100, "00")], codecs, measured, ["psnr"], {})


# --- curves -----------------------------------------------------------------------------------------


def test_bd_rate_of_a_codec_that_takes_a_fifth_less() -> None:
    rates, qualities = (0.1, 0.25, 0.5, 1.0, 1.6), (27.0, 30.0, 32.5, 35.8, 38.0)
    found = bd_rate(Curve(rates, qualities), Curve(tuple(0.8 * r for r in rates), qualities))
    assert found is not None
    assert found.percent == pytest.approx(-20)
    assert (found.low, found.high) == (27, 38)
    assert bd_rate(Curve(rates, qualities), Curve(rates, tuple(q + 20 for q in qualities))) is None
    assert bd_rate(Curve(rates, qualities), Curve((0.5,), (30.0,))) is None
    assert bd_rate(Curve((), ()), Curve(rates, qualities)) is None


def test_difference_in_bits_is_at_equal_quality() -> None:
    anchor = Curve((0.1, 0.2, 0.4, 0.8, 1.6), (27.0, 30.0, 33.0, 36.0, 39.0))  # 3 dB a doubling
    better = Curve(anchor.bpp, tuple(q + 1 for q in anchor.quality))
    for rate in (0.1, 0.3, 0.8):
        assert rate_difference(anchor, better, rate) == pytest.approx(100 * (2 ** (-1 / 3) - 1), abs=0.1)
        assert rate_difference(anchor, anchor, rate) == pytest.approx(0, abs=1e-6)
    assert rate_difference(anchor, better, 1.6) is None  # the anchor has no 40 dB
    assert rate_difference(anchor, better, 2.0) is None


def test_curves_keep_only_points_that_are_worth_their_bits() -> None:
    curve = Curve.of([(0.5, 30.0), (0.1, 25.0), (0.7, 29.0), (0.5, 31.0), (1.0, 33.0)])
    assert curve == Curve((0.1, 0.5, 1.0), (25.0, 30.0, 33.0))
    assert curve.at(0.5) == pytest.approx(30)
    assert 25 < curve.at(0.2) < 30  # type: ignore[operator]
    assert curve.at(1.1) is None


def test_published_curves_are_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "curves.json"
    content = {"DPICT": {"bpp": [0.5, 0.2], "psnr": [33, 30], "source": "authors"}, "X": {}}
    path.write_text(json.dumps(content))
    (curve,) = published_curves(path)
    assert curve == {"label": "DPICT", "source": "authors", "bpp": (0.2, 0.5), "psnr": (30, 33)}
    for text in ("[1]", '{"DPICT": 3}', '{"DPICT": {"bpp": [1], "psnr": [], "source": ""}}', "no json"):
        path.write_text(text)
        with pytest.raises(InputError, match="not a file of published curves"):
            published_curves(path)


# --- means and tables -------------------------------------------------------------------------------


def test_means_are_over_all_images_or_not_at_all() -> None:
    rows = {
        "a": [_point(0.1, 100, 30.0), _point(0.2, 200, 33.0), _point(None, 300, 35.0)],
        "b": [_point(0.2, 200, 31.0), _point(None, 500, 37.0)],
    }
    complete, partial = mean_points(rows, ["psnr"])
    assert complete == [
        {"asked": 0.2, "images": 2, "bpp": 0.2, "psnr": 32.0},
        {"asked": None, "images": 2, "bpp": 0.4, "psnr": 36.0},
    ]
    assert [(p["asked"], p["images"]) for p in partial] == [(0.1, 1)]


def test_table_marks_files_that_end_before_a_rate() -> None:
    points = [_point(0.1, 100, 30.0), _point(1.0, 620, 34.0), _point(1.4, 620, 34.0), _point(None, 300, 31.0)]
    results = _assembled({"ctc": points})
    assert rate_table(results).splitlines()[-1] == (
        "| ctc | 30.00 | 31.52 | 32.41 | 33.53 |  | 34.00 at 0.62 | 34.00 at 0.62 |  |"
    )
    assert results["notes"] == ["avif is missing: not here"]
    assert whole_line(results) == "A whole file of default quality: 31.00 dB at 0.300 bpp."


def test_bits_are_compared_at_equal_psnr() -> None:
    rates = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.4, 2.0)
    ours, theirs = (
        [_point(rate, round(share * 1000 * rate), 36 + 9 * np.log10(rate)) for rate in rates]
        for share in (0.8, 1)
    )
    results = _assembled({"ctc": [*ours, _point(None, 900, 20.0)], "jpeg2000": theirs})
    (row,) = difference_table(results).splitlines()[2:]
    # Ours end before 2 bpp.
    assert row == f"| JPEG 2000, a file per rate |{' -20.0 % |' * 7}  |{' -20.0 % |' * 2}"
    found = results["rate_difference"][0]["bd_rate"]
    low, high = 36 + 9 * np.log10(0.1 / 0.8), 36 + 9 * np.log10(1.4)  # of ours at 0.1, of theirs at 1.4 bpp
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=1e-3)
    results = _assembled({"ctc": [*ours[2:], _point(None, 900, 20.0)], "jpeg2000": theirs})
    (row,) = difference_table(results).splitlines()[2:]
    assert row.endswith(" |  |  |")  # and begin after 0.1


def test_only_kodak_is_kodak() -> None:
    kodak = [EvaluationImage(f"kodim{n:02d}", Path(), 768, 512, "") for n in range(1, 25)]
    assert is_kodak(kodak)
    assert not is_kodak(kodak[:23])
    assert not is_kodak([EvaluationImage(i.name, i.path, 100, 100, "") for i in kodak])


# --- what is committed ------------------------------------------------------------------------------


def test_committed_results_are_of_the_committed_weights() -> None:
    digest = hashlib.sha256((ROOT / "weights" / "ctc.safetensors").read_bytes()).hexdigest()
    results = json.loads((ROOT / "docs" / "results.json").read_text())
    assert results["weights"]["sha256"] == digest, "weights changed: make eval, then make readme"
    with Image.open(ROOT / "docs" / "rd.png") as image:
        assert image.info["Description"] == digest


def test_committed_results_reproduce_what_is_known() -> None:
    """Layered JPEG 2000 on Kodak as measured elsewhere with OpenJPEG; the paper's claim from its curves."""
    results = json.loads((ROOT / "docs" / "results.json").read_text())
    assert len(results["images"]) == 24
    known = {0.2: 28.43, 0.3: 29.90, 0.5: 32.10, 0.75: 34.23, 1.0: 35.91}
    found = {p["asked"]: p["psnr"] for p in results["codecs"]["jpeg2000-layered"]["curve"]}
    for rate, value in known.items():
        assert found[rate] == pytest.approx(value, abs=0.05)
    rates = {(e["codec"], e["anchor"]): e["percent"] for e in results["bd_rate"] if e["metric"] == "psnr"}
    assert rates["DPICT", "CTC"] == pytest.approx(19, abs=1)
    assert rates["CTC", "DPICT"] == pytest.approx(-16, abs=1)
    assert not [name for name in results["notes"] if "missing" in name]
