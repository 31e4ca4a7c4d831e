"""``ctc evaluate``: metrics, peers, Bjontegaard rates, cache, report; ablation, benchmark, prefixes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from click.testing import CliRunner
from PIL import Image

import bench
import ctc_codec
from bench import synthetic_image
from ctc_codec.codec import picture
from ctc_codec.codec.model import WEIGHTS_FORMAT, default_weights, load_model
from ctc_codec.codec.options import DEFAULT_EFFORT, EFFORTS
from ctc_codec.codec.walk import Walk
from ctc_codec.container.coder import RangeEncoder
from ctc_codec.crr import density
from ctc_codec.evaluation import peers
from ctc_codec.evaluation.ablation import LADDER, ablation_table, rungs, without_order
from ctc_codec.evaluation.bd_rate import Curve, bd_rate, published_curves, rate_difference
from ctc_codec.evaluation.codecs import Ctc, PeerError, Stream
from ctc_codec.evaluation.images import EvaluationImage, evaluation_images, read_image
from ctc_codec.evaluation.measure import Cache, Measured, measure, measure_all
from ctc_codec.evaluation.metrics import METRICS, PSNR_OF_EQUALS, quality
from ctc_codec.evaluation.resources import measured
from ctc_codec.evaluation.results import assemble, curve_of, is_kodak, mean_points
from ctc_codec.evaluation.tables import difference_table, rate_table, whole_line
from ctc_codec.image.source import psnr
from ctc_codec.synthesis import network as synthesis
from heldout import main as write_heldout
from large import main as measure_large
from prefixes import is_prefix
from prefixes import main as check_prefixes
from readme_figures import ABLATION_BEGIN, BEGIN, ablation_section, section, with_section

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "docs" / "results.json"


@pytest.fixture(scope="module")
def pixels(make_photo: Callable[..., Image.Image]) -> np.ndarray:
    return np.asarray(make_photo(256, 192))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    synthetic_image(192, 128).save(folder / "wide.png")
    synthetic_image(120, 176).save(folder / "tall.png")
    return folder


def ctc(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ctc_codec.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, **options)  # type: ignore[call-overload]


# Metrics


def test_metrics_of_equal_images_are_the_best_there_are(pixels: np.ndarray) -> None:
    found = quality(pixels, pixels, [m.name for m in METRICS])
    assert found == {"psnr": PSNR_OF_EQUALS, "ms_ssim": pytest.approx(1), "ssimulacra2": pytest.approx(100)}


def test_metrics_fall_with_noise(pixels: np.ndarray) -> None:
    noise = np.random.default_rng(0).normal(size=pixels.shape)
    little, much = (
        quality(pixels, (pixels + sigma * noise).clip(0, 255).astype(np.uint8), [m.name for m in METRICS])
        for sigma in (3, 20)
    )
    assert all(little[m.name] > much[m.name] for m in METRICS)  # type: ignore[operator]
    assert 37 < little["psnr"] < 40  # type: ignore[operator]


def test_metrics_are_absent_where_an_image_is_too_small_for_them() -> None:
    small = np.zeros((100, 100, 3), np.uint8)
    assert quality(small, small, ["psnr", "ms_ssim"]) == {"psnr": PSNR_OF_EQUALS, "ms_ssim": None}
    with pytest.raises(ValueError, match="99x100"):
        quality(small, small[:, 1:], ["psnr"])


# Peers


def test_layers_of_jpeg2000_end_where_their_packets_do(pixels: np.ndarray) -> None:
    codec = peers.LayeredJpeg2000((0.1, 0.3, 0.8, 1.5))
    streams = list(codec.streams(pixels))
    sizes = [s.nbytes for s in streams]
    for stream in streams:
        assert 8 * stream.nbytes / pixels[..., 0].size == pytest.approx(stream.asked, rel=0.05)
    assert sizes == sorted(sizes)
    qualities = [psnr(pixels, s.decode()) for s in streams]
    assert all(np.diff(qualities) > 0.3)
    # the bytes that are counted suffice: a stream with these layers only, of that rate, is as good
    for stream, found in zip(streams, qualities, strict=True):
        (single,) = peers.Jpeg2000((8 * stream.nbytes / pixels[..., 0].size,)).streams(pixels)
        assert psnr(pixels, single.decode()) == pytest.approx(found, abs=0.3)


def test_layer_ends_leave_out_only_the_packet_lengths(pixels: np.ndarray) -> None:
    rates = (0.2, 0.6, 1.2)
    with_lengths = peers._jpeg2000(pixels, rates, progression="LRCP", plt=True)
    without = peers._jpeg2000(pixels, rates, progression="LRCP")
    assert peers.layer_ends(with_lengths)[-1] == len(without) - len(b"\xff\xd9")


def test_progressive_jpeg_is_cut_between_scans(pixels: np.ndarray) -> None:
    data = peers._saved(pixels, "JPEG", quality=90, subsampling="4:2:0", progressive=True)
    ends = peers.scan_ends(data)
    assert len(ends) == 10
    assert ends[-1] == len(data) - 2
    streams = list(peers.ProgressiveJpeg().streams(pixels))
    assert [s.nbytes for s in streams] == ends
    qualities = [psnr(pixels, s.decode()) for s in streams]
    assert qualities[-1] > qualities[4] > qualities[0] + 3
    assert np.array_equal(streams[-1].decode(), peers.opened(data))


def test_best_jpeg_within_some_bytes(pixels: np.ndarray) -> None:
    data = peers.jpeg_within(pixels, 6000)
    assert data is not None
    assert len(data) <= 6000
    larger = peers.jpeg_within(pixels, 12000)
    assert larger is not None
    assert 6000 < len(larger) <= 12000
    assert psnr(pixels, peers.opened(larger)) > psnr(pixels, peers.opened(data))
    assert peers.jpeg_within(pixels, 300) is None


@pytest.mark.parametrize("codec", peers.PEERS, ids=lambda codec: codec.name)
def test_peers_get_better_with_bytes(codec: peers.Codec, pixels: np.ndarray) -> None:
    try:
        codec.version()
    except PeerError as error:
        pytest.skip(str(error))
    points = measure(codec, pixels, ["psnr"])
    curve = curve_of(points, "psnr")
    assert len(curve.bpp) >= 0.9 * len({p["nbytes"] for p in points})
    assert curve.quality[-1] > 37
    assert len(curve.bpp) == 1 or curve.quality[-1] > curve.quality[0] + 4


def test_a_missing_peer_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(PeerError, match="cjxl is not installed"):
        peers.ProgressiveJpegXl().version()
    monkeypatch.setattr(peers.features, "check", lambda feature: False)
    for codec in (peers.LayeredJpeg2000(), *(c for c in peers.PEERS if c.name in ("webp", "avif"))):
        with pytest.raises(PeerError, match="is built without"):
            codec.version()


# Our codec


def test_our_points_are_prefixes_of_a_file_of_all_planes_and_the_default_file(pixels: np.ndarray) -> None:
    points = measure(Ctc(default_weights(), (0.1, 0.3, 50.0)), pixels, ["psnr"])
    image = Image.fromarray(pixels)
    every, default = ctc_codec.encode(image, quality=100), ctc_codec.encode(image)
    assert [p["asked"] for p in points] == [0.1, 0.3, 50.0, None]
    assert [p["nbytes"] for p in points] == [614, 1843, len(every), len(default)]
    assert points[1]["bpp"] == pytest.approx(0.3, abs=0.001)
    for data, point in zip([every] * 3 + [default], points, strict=True):
        decoded = np.asarray(ctc_codec.decode(data[: point["nbytes"]]))
        assert point["psnr"] == pytest.approx(psnr(pixels, decoded), abs=0.01)
    assert points[2]["psnr"] > points[3]["psnr"] + 5


def test_a_default_file_as_long_as_a_cut_is_measured_by_itself() -> None:
    """A cut is known by its length only among cuts."""

    class Codec(_Counting):
        def streams(self, pixels: np.ndarray):  # type: ignore[no-untyped-def]
            yield Stream(0.1, 10, lambda: pixels)
            yield Stream(0.1, 10, lambda: pytest.fail("decoded twice"))
            yield Stream(None, 10, lambda: pixels // 2)

    black_and_white = np.tile(np.arange(12, dtype=np.uint8)[:, None, None] * 20, (1, 12, 3))
    found = [p["psnr"] for p in measure(Codec(Path()), black_and_white, ["psnr"])]
    assert found[0] == found[1] == PSNR_OF_EQUALS > 20 > found[2]


def test_rates_below_the_header_have_no_point() -> None:
    tiny = np.asarray(synthetic_image(16, 16))
    points = measure(Ctc(default_weights(), (0.03, 2.0)), tiny, ["psnr"])
    assert [p["asked"] for p in points] == [2.0, None]


def test_parts_and_efforts_are_those_of_the_codec(tmp_path: Path) -> None:
    image = synthetic_image(192, 128)
    pixels, made, shown = np.asarray(image), {}, {}
    steps = rungs(default_weights(), without_order(default_weights(), tmp_path))
    for codec in [*steps, Ctc(default_weights(), name="effort-1", effort=1)]:
        whole = list(codec.streams(pixels))[-1]
        data = ctc_codec.encode(image, context=codec.context, effort=codec.effort, weights=codec.weights)
        decoded = ctc_codec.decode(
            data, refine=codec.refine, synthesis=codec.synthesis, weights=codec.weights
        )
        assert whole.nbytes == len(data)
        assert np.array_equal(whole.decode(), np.asarray(decoded))
        made[codec.name], shown[codec.name] = data, whole.decode()
    assert len(made["context-free"]) > 1.1 * len(made["CRR"])
    assert made["CRR"] == made["CDR"] != made["effort-1"]
    assert psnr(pixels, shown["CRR"]) < psnr(pixels, shown["CDR"])


# Curves


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
    path.write_text(
        json.dumps({"DPICT": {"bpp": [0.5, 0.2], "psnr": [33, 30], "source": "authors"}, "X": {}})
    )
    (curve,) = published_curves(path)
    assert (curve.label, curve.source, curve.curve) == ("DPICT", "authors", Curve((0.2, 0.5), (30, 33)))
    for text in ("[1]", '{"DPICT": 3}', '{"DPICT": {"bpp": [1], "psnr": [], "source": ""}}', "no json"):
        path.write_text(text)
        with pytest.raises(ctc_codec.InputError, match="not a file of published curves"):
            published_curves(path)


# Means and tables


def _point(asked: float | None, nbytes: int, value: float) -> dict[str, object]:
    return {"asked": asked, "nbytes": nbytes, "bpp": nbytes / 1000, "psnr": value}


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


def _assembled(rows: dict[str, list[dict[str, object]]]) -> dict[str, object]:
    """A document about one image."""
    codecs = [codec for codec in (Ctc(Path("weights")), peers.Jpeg2000()) if codec.name in rows]
    points = {name: {"a": points} for name, points in rows.items()}
    return assemble(
        [EvaluationImage("a", Path("a.png"), 80, 100, "00")],
        codecs,
        dict.fromkeys(rows, "1"),
        Measured(points, {}),
        {"avif": "not here"},
        {},
        [],
        ["psnr"],
        {},
    )


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
    theirs = [_point(rate, round(1000 * rate), 36 + 9 * np.log10(rate)) for rate in rates]
    ours = [_point(rate, round(800 * rate), 36 + 9 * np.log10(rate)) for rate in rates]
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


def test_images_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        synthetic_image(20, 10).save(tmp_path / place / "same.png")
    synthetic_image(20, 10).save(tmp_path / "b" / "other.png")
    found = evaluation_images([tmp_path / "a", tmp_path / "b", tmp_path / "a"])
    assert [i.name for i in found] == ["a/same.png", "other", "b/same.png"]


# Measuring once


class _Counting:
    """A codec that tells how often it ran, and fails where it is told to."""

    name, label, setting, embedded, unit = "counting", "Counting", "", True, "bpp"

    def __init__(self, log: Path, fail: bool = False) -> None:
        self.log, self.fail = log, fail

    def version(self) -> str:
        return "1"

    def streams(self, pixels: np.ndarray):  # type: ignore[no-untyped-def]
        with self.log.open("a") as file:
            file.write(f"{pixels.shape[1]}\n")
        if self.fail and pixels.shape[1] < 150:
            raise RuntimeError("no room")
        yield Stream(0.1, 10, lambda: pixels)

        def refuse() -> np.ndarray:
            raise PeerError("cut too early")

        yield Stream(0.2, 20, refuse)


def test_what_was_measured_is_not_measured_again(folder: Path, tmp_path: Path) -> None:
    log, cache = tmp_path / "log", Cache(tmp_path / "cache")
    images, codec = evaluation_images([folder]), _Counting(log)
    arguments = (images, [codec], {"counting": {"version": 1}}, ["psnr"], cache, 2)
    first = measure_all(*arguments)
    assert len(log.read_text().split()) == 2
    assert [p["asked"] for p in first.points["counting"]["wide"]] == [
        0.1
    ]  # the cut that shows nothing is no point
    assert measure_all(*arguments) == first
    assert len(log.read_text().split()) == 2
    (damaged, *_) = cache.folder.iterdir()
    damaged.write_text('[{"asked"')
    assert measure_all(*arguments) == first
    assert len(log.read_text().split()) == 3
    measure_all(images, [codec], {"counting": {"version": 2}}, ["psnr"], cache, 1)
    assert len(log.read_text().split()) == 5


def test_a_peer_that_fails_on_one_image_is_left_out_with_its_reason(folder: Path, tmp_path: Path) -> None:
    codec = _Counting(tmp_path / "log", fail=True)
    found = measure_all(
        evaluation_images([folder]), [codec], {"counting": {}}, ["psnr"], Cache(tmp_path / "cache"), 1
    )
    assert found.points == {}
    assert found.failed == {"counting": "tall.png: RuntimeError: no room"}


# The command


@pytest.fixture(scope="module")
def report(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("eval") / "report"
    codecs = "ctc,jpeg,jpeg2000,jpeg2000-layered,jpegxl-progressive"
    done = ctc("evaluate", folder, "-o", out, "--codecs", codecs, "--points", "0.1,0.3,0.5,1",
               env=os.environ | {"PATH": ""})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (out / "tables.md").read_text() == done.stdout
    return out


def test_report_has_all_its_parts(report: Path) -> None:
    results = json.loads((report / "results.json").read_text())
    weights = default_weights().read_bytes()
    assert results["weights"]["sha256"] == hashlib.sha256(weights).hexdigest()
    assert list(results["codecs"]) == ["ctc", "jpeg2000-layered", "jpeg2000", "jpeg"]
    ours = results["codecs"]["ctc"]
    assert [p["asked"] for p in ours["curve"]] == [0.1, 0.3, 0.5, 1.0]
    assert ours["whole"]["psnr"] == pytest.approx(40, abs=0.3)
    assert "default file (quality 85)" in results["method"]
    assert set(ours["images"]) == {"wide", "tall"}
    assert ours["curve"][1]["psnr"] == pytest.approx(
        np.mean([ours["images"][name][1]["psnr"] for name in ("wide", "tall")])
    )
    assert 0 < ours["resources"]["decode_s"] < 60
    assert ours["resources"]["peak_memory"] > results["codecs"]["jpeg"]["resources"]["peak_memory"] > 10e6
    anchors = {"JPEG 2000, layered", "JPEG 2000, a file per rate"}
    assert {e["anchor"] for e in results["bd_rate"] if e["codec"] == "ctc"} == anchors
    assert {e["anchor"] for e in results["rate_difference"]} == anchors
    with (report / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["codec"] for row in rows} == set(results["codecs"])
    assert float(rows[0]["psnr"]) == ours["curve"][0]["psnr"]
    for metric in ("psnr", "ssimulacra2", "psnr_log"):
        with Image.open(report / f"rd_{metric}.png") as image:
            assert image.width > 800
        assert b"</svg>" in (report / f"rd_{metric}.svg").read_bytes()


def _whole_psnr(report: Path) -> float:
    return float(json.loads((report / "results.json").read_text())["codecs"]["ctc"]["whole"]["psnr"])


def test_report_names_what_is_missing(report: Path) -> None:
    text, page = (report / "tables.md").read_text(), (report / "index.html").read_text()
    assert f"whole file of default quality: {_whole_psnr(report):.2f} dB" in page
    for name in (text, page):
        assert "jpegxl-progressive is missing: cjxl is not installed (Debian" in name
        assert "ms_ssim: some image is too small" in name


def test_psnr_is_there_whatever_is_asked_for(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    arguments = [
        "--codecs",
        "ctc,jpeg2000-layered",
        "--metrics",
        "ssimulacra2",
        "--points",
        "0.5",
        "--no-times",
    ]
    done = ctc("evaluate", folder, "-o", out, *arguments, "--quiet", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["metrics"] == ["psnr", "ssimulacra2"]
    assert "Every image" in (out / "index.html").read_text()


def test_second_run_takes_everything_from_the_cache(report: Path, folder: Path) -> None:
    cached = {p: p.stat().st_mtime_ns for p in (report / "cache").iterdir()}
    codecs = "ctc,jpeg,jpeg2000,jpeg2000-layered"
    points = "1,0.5,0.3,0.1"
    done = ctc("evaluate", folder, "-o", report, "--codecs", codecs, "--points", points, "--quiet", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout)["codecs"]["ctc"]["curve"][0]["asked"] == 0.1
    assert {p: p.stat().st_mtime_ns for p in (report / "cache").iterdir()} == cached


def test_interrupted_run_goes_on(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    arguments = [
        "evaluate",
        folder,
        "-o",
        out,
        "--codecs",
        "ctc,jpeg,webp",
        "--metrics",
        "psnr",
        "--no-times",
    ]
    command = [sys.executable, "-m", "ctc_codec.cli", *map(str, arguments), "--jobs", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(out.glob("cache/*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 130, told
    assert told.splitlines()[-1] == "ctc: interrupted"
    kept = {p: p.stat().st_mtime_ns for p in out.glob("cache/*.json")}
    assert 1 <= len(kept) < 6
    done = ctc(*arguments)
    assert done.returncode == 0, done.stderr
    after = {p: p.stat().st_mtime_ns for p in out.glob("cache/*.json")}
    assert kept.items() <= after.items()
    assert len(after) == 7  # 2 images, 3 codecs, and the pictures of the page


def test_bad_arguments_and_inputs_get_a_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "photo.png").write_bytes(b"no image")
    (tmp_path / "file").write_text("")
    (tmp_path / "curves.json").write_text("[]")
    for code, words, arguments in (
        (2, "no codec 'gif'; there are ctc, ", [folder, "--codecs", "gif"]),
        (2, "no metric 'vmaf'", [folder, "--metrics", "vmaf"]),
        (2, "not a list of positive", [folder, "--points", "0.1,x"]),
        (2, "no image 'none'", [folder, "--show", "none"]),
        (1, "no images", [tmp_path / "empty"]),
        (1, "photo.png: not an image", [tmp_path / "bad"]),
        (1, "no such weights file", [folder, "--weights", tmp_path / "none.safetensors"]),
        (1, "not a file of published curves", [folder, "--published", tmp_path / "curves.json"]),
        (1, "file", [folder, "-o", tmp_path / "file"]),
    ):
        done = ctc("evaluate", *arguments, "--quiet", cwd=tmp_path)
        assert done.returncode == code, done.stderr
        assert done.stderr.startswith("ctc: ")
        assert len(done.stderr.splitlines()) == 1
        assert words in done.stderr
    assert not (tmp_path / "report" / "results.json").exists()


# The page


@pytest.mark.filterwarnings("ignore")
def test_page_shows_more_with_every_step_of_its_slider(report: Path, browser: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    browser.get((report / "index.html").as_uri())
    slider = browser.find_element(By.ID, "rate")
    last = int(slider.get_attribute("max"))
    assert last >= 5

    def state() -> tuple[float, list[str], list[bool]]:
        rate = float(browser.find_element(By.ID, "told").text.split()[0])
        captions = [e.text for e in browser.find_elements(By.TAG_NAME, "figcaption")]
        loaded = browser.execute_async_script(
            "const done = arguments[0];"
            "const pictures = [...document.querySelectorAll('img')].filter(i => i.hasAttribute('src'));"
            "Promise.all(pictures.map(i => i.decode().then(() => i.naturalWidth > 0, () => false)))"
            ".then(done);"
        )
        return rate, captions, loaded

    seen = [state()]
    for _ in range(last):
        slider.send_keys(Keys.ARROW_RIGHT)
        seen.append(state())
    assert all(all(loaded) for _, _, loaded in seen)
    assert len(seen[-1][2]) == 3 + 3  # the three pictures and three plots (no MS-SSIM: too small)
    rates = [rate for rate, _, _ in seen]
    assert rates == sorted(set(rates))
    decibels = [float(captions[0].split()[-2]) for _, captions, _ in seen]
    assert decibels[0] + 3 < decibels[-1]
    assert "cannot be made this small" in seen[0][1][2]
    assert "bytes" in seen[-1][1][2]
    assert [e["level"] for e in browser.get_log("browser")] == []


# What is committed


def test_committed_results_are_of_the_committed_weights() -> None:
    digest = hashlib.sha256((ROOT / "weights" / "ctc.safetensors").read_bytes()).hexdigest()
    results = json.loads(COMMITTED.read_text())
    assert results["weights"]["sha256"] == digest, "weights changed: make eval, then make readme"
    with Image.open(ROOT / "docs" / "rd.png") as image:
        assert image.info["Description"] == digest


def test_readme_says_what_the_committed_results_say() -> None:
    text = (ROOT / "README.md").read_text()
    assert with_section(text, section(json.loads(COMMITTED.read_text()))) == text
    ablation = json.loads((COMMITTED.parent / "ablation.json").read_text())
    assert [row["label"] for row in ablation["efforts"]] == list("123456789")
    assert with_section(text, ablation_section(ablation), ABLATION_BEGIN) == text
    assert ablation["weights"] == hashlib.sha256(default_weights().read_bytes()).hexdigest()
    assert text.count(BEGIN) == 1


def test_committed_results_reproduce_what_is_known() -> None:
    """Layered JPEG 2000 on Kodak as measured elsewhere with OpenJPEG; the paper's claim from its curves."""
    results = json.loads(COMMITTED.read_text())
    assert len(results["images"]) == 24
    known = {0.2: 28.43, 0.3: 29.90, 0.5: 32.10, 0.75: 34.23, 1.0: 35.91}
    found = {p["asked"]: p["psnr"] for p in results["codecs"]["jpeg2000-layered"]["curve"]}
    for rate, value in known.items():
        assert found[rate] == pytest.approx(value, abs=0.05)
    rates = {(e["codec"], e["anchor"]): e["percent"] for e in results["bd_rate"] if e["metric"] == "psnr"}
    assert rates["DPICT", "CTC"] == pytest.approx(19, abs=1)
    assert rates["CTC", "DPICT"] == pytest.approx(-16, abs=1)
    assert not [name for name in results["notes"] if "missing" in name]


def test_json_has_no_numbers_that_json_does_not_have(report: Path) -> None:
    def refuse(text: str) -> None:
        raise AssertionError(text)

    json.load(io.StringIO((report / "results.json").read_text()), parse_constant=refuse)


# Ablation


def _with_synthesis(path: Path, gain: float | None, **others: np.ndarray) -> Path:
    """The weights with a synthesis network whose correction is the picture by a gain, or with none."""
    onnx = pytest.importorskip("onnx")
    arrays = safetensors.numpy.load_file(default_weights()) | others
    arrays = {name: array for name, array in arrays.items() if not name.startswith("synthesis.")}
    if gain is not None:
        count = synthesis.COLOURS * synthesis.SCALE**2
        ends = [
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, channels, "h", "w"])
            for name, channels in (("inputs", synthesis.INPUTS), ("corrections", count))
        ]
        kernel = gain * np.eye(count, synthesis.INPUTS, dtype=np.float32)[..., None, None]
        node = onnx.helper.make_node("Conv", ["inputs", "kernel"], ["corrections"])
        constants = [onnx.numpy_helper.from_array(kernel, "kernel")]
        graph = onnx.helper.make_graph([node], "gain", ends[:1], ends[1:], constants)
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
        arrays["synthesis.graph"] = np.frombuffer(model.SerializeToString(), np.uint8)
        arrays["synthesis.halo"] = np.zeros(1, np.uint8)
    known = load_model(default_weights()).known_answer
    safetensors.numpy.save_file(arrays, path, {"format": WEIGHTS_FORMAT, "known_answer": known})
    return path


def test_ablation_measures_every_part_and_effort(tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    for i, size in enumerate([(120, 80), (90, 130)]):
        synthetic_image(*size).save(images / f"{i}.png")
    weights = _with_synthesis(tmp_path / "weights.safetensors", 0.0)
    control = _with_synthesis(tmp_path / "control.safetensors", -0.3)
    arguments = ["evaluate", images, "-o", out, "--ablation", "--quiet"]
    done = ctc(*arguments, "--weights", weights, "--control", control)
    assert done.returncode == 0, done.stderr
    document = json.loads((out / "ablation.json").read_text())
    rows = {row["label"]: row for row in document["rungs"]}
    assert tuple(rows) == LADDER
    nested, free, crr, cdr, whole_files, all_states = (row["bd_rate"]["percent"] for row in rows.values())
    assert free == pytest.approx(0, abs=1e-9)
    assert nested > 1
    assert crr < -5
    assert cdr < crr - 1
    assert all_states == pytest.approx(cdr, abs=1)  # its network corrects nothing
    assert whole_files > all_states + 1  # the control's does harm
    assert document["bd_rate_codec_vs_context_free"] == all_states
    for key, path in (("weights", weights), ("control", control)):
        assert document[key] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert rows["context-free"]["whole_bpp"] > rows["+ CRR"]["whole_bpp"] == rows["+ CDR"]["whole_bpp"]
    assert [p["asked"] for p in rows["+ CRR"]["curve"]][-1] == 2.0
    efforts = {row["label"]: row for row in document["efforts"]}
    assert list(efforts) == [str(effort) for effort in EFFORTS]
    assert efforts[str(DEFAULT_EFFORT)]["bd_rate"]["percent"] == pytest.approx(0, abs=1e-9)
    assert efforts["1"]["bd_rate"]["percent"] > 0
    assert efforts["9"]["encode_ms"] > efforts["1"]["encode_ms"] > 0 < efforts["1"]["decode_ms"]
    assert ablation_table(document) in done.stdout
    assert f"{DEFAULT_EFFORT} (default) | +0.00 %" in done.stdout

    cached = {p: p.stat().st_mtime_ns for p in out.glob("cache/*.json")}
    done = ctc(*arguments, "--weights", weights, "--no-times")
    assert done.returncode == 0, done.stderr
    assert {p: p.stat().st_mtime_ns for p in out.glob("cache/*.json")} == cached
    assert "| + synthesis, whole files | not measured |" in done.stdout
    document = json.loads((out / "ablation.json").read_text())
    assert document["control"] is None
    assert document["bd_rate_codec_vs_context_free"] == all_states


def test_trits_of_a_plane_have_no_order_in_nested_quantisation(tmp_path: Path) -> None:
    model = load_model(without_order(default_weights(), tmp_path / "cache"))
    assert set(model.densities.classes) == {1}
    given = load_model(default_weights())
    assert np.array_equal(model.densities.frequencies, given.densities.frequencies)
    assert model.fingerprint != given.fingerprint


def test_rungs_are_those_that_the_weights_have(tmp_path: Path) -> None:
    without = _with_synthesis(tmp_path / "without.safetensors", None)
    network = _with_synthesis(tmp_path / "with.safetensors", 0.0)

    def labels(weights: Path, control: Path | None = None) -> list[str]:
        return [codec.label for codec in rungs(weights, tmp_path / "unordered", control)]

    first = list(LADDER[:4])
    assert labels(without) == first
    assert labels(network) == [*first, "+ synthesis, all states"]
    assert labels(without, network) == [*first, "+ synthesis, whole files"]
    assert labels(network, network) == list(LADDER)
    document = {"rungs": [{"label": LADDER[-1], "missing": True}]}
    assert ablation_table(document).splitlines()[-1].startswith(f"| {LADDER[-1]} | not measured |")


def test_control_that_does_not_fit_is_refused_in_a_line(folder: Path, tmp_path: Path) -> None:
    other = np.ones_like(load_model(default_weights()).densities.classes[: density.ROWS])
    foreign = _with_synthesis(tmp_path / "foreign.safetensors", 0.0, **{"exact.density.classes": other})
    bare = _with_synthesis(tmp_path / "bare.safetensors", None)
    for code, words, arguments in (
        (1, "its entropy model is not that of", ["--ablation", "--control", foreign]),
        (1, "bare.safetensors: has no synthesis network", ["--ablation", "--control", bare]),
        (1, "no such weights file", ["--ablation", "--control", tmp_path / "none"]),
        (2, "--control goes with --ablation", ["--control", bare]),
    ):
        done = ctc("evaluate", folder, "-o", tmp_path / "out", "--quiet", *arguments)
        assert done.returncode == code, done.stderr
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out" / "ablation.json").exists()


# Times


def test_stages_add_up_and_the_codec_is_left_as_it_was() -> None:
    image = synthetic_image(96, 64)
    before = Walk._slice, RangeEncoder.encode, picture.synthesise
    made: list[bytes] = []
    model = load_model(threads=1)
    times = bench.stages(lambda: made.append(ctc_codec.encode(image, weights=model)), 1)
    assert made[0] == ctc_codec.encode(image)  # timers change nothing
    assert before == (Walk._slice, RangeEncoder.encode, picture.synthesise)
    total = times.pop("total")
    assert sum(times.values()) == pytest.approx(total, abs=0.2)
    assert set(times) >= {"transform", "inputs", "networks", "context", "rows", "order", "coding", "state",
                          "means", "inverse wavelet", "decisions", "other"}  # fmt: skip
    assert times["other"] < total / 2


def test_time_of_a_stage_is_its_own() -> None:
    timers = bench.Timers()

    def slept(seconds: float, inside: Callable[[], object] = lambda: None) -> None:
        time.sleep(seconds)
        inside()

    def steps():  # type: ignore[no-untyped-def]
        for _ in range(2):
            inner()
            yield

    inner = timers.wrapped(lambda: slept(0.03), "inner")
    projection = timers.wrapped(lambda: slept(0.01, inner), "projection")
    generator = timers.wrapped(steps, "generator")
    with timers.stage("outer"):
        slept(0.05, inner)
        projection()
        for _ in generator():
            time.sleep(0.02)
    times = timers.seconds
    assert 0.09 <= times["inner"] < times["outer"] + times["projection"]
    assert times["outer"] >= 0.09
    assert times["projection"] >= 0.04  # and all inside it
    assert times["generator"] < 0.02


def test_benchmark_of_a_small_image(tmp_path: Path) -> None:
    synthetic_image(128, 96).save(tmp_path / "a.png")
    out = tmp_path / "bench.json"
    arguments = ["--image", str(tmp_path / "a.png"), "--effort", "1", "--runs", "1", "-o", str(out)]
    result = CliRunner().invoke(bench.main, arguments)
    assert result.exit_code == 0, result.output
    document = json.loads(out.read_text())
    asked = [0.1, 0.3, 0.5, 1.0, None]
    for direction in ("encode", "decode"):
        rows = [row for row in document["rows"] if row["direction"] == direction]
        assert [row["asked"] for row in rows] == asked
        assert rows[0]["bpp"] == pytest.approx(0.1, abs=0.01)
        assert all(row["ms"]["total"] > row["ms"]["image IO"] > 0 < row["ms_all_cores"] for row in rows)
    commands = document["commands"]
    assert commands["ctc --help"]["ms"] < commands["ctc encode"]["ms"]
    assert 5 < commands["ctc truncate"]["peak_mb"] < commands["ctc encode"]["peak_mb"]
    for text in ("| encode, effort 1, ms | 0.10 bpp |", "(default file) |", "| networks |", "| ctc --help |"):
        assert text in result.stdout


def test_memory_of_a_command_is_its_own() -> None:
    held = bytearray(150_000_000)  # of this process, which the command must not be charged with
    seconds, peak = measured([sys.executable, "-c", "import time; bytearray(20_000_000); time.sleep(0.1)"])
    assert len(held) > 2 * peak > 40_000_000
    assert 0.1 < seconds < 20
    with pytest.raises(subprocess.CalledProcessError):
        measured([sys.executable, "-c", "raise SystemExit(3)"])


def test_large_images_are_measured(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "large.json"
    result = CliRunner().invoke(measure_large, [str(folder), "--megapixels", "0.02,0.1", "-o", str(out)])
    assert result.exit_code == 0, result.output
    small, large = json.loads(out.read_text())
    assert (small["megapixels"], large["megapixels"]) == pytest.approx((0.02, 0.1), rel=0.02)
    assert 20 < small["encode_mb"] < large["encode_mb"]
    assert 0 < small["decode_s"] < 120
    assert len(result.output.splitlines()) == 4


# Prefixes


def _latent(data: bytes) -> ctc_codec.DecodedLatent:
    decoder = ctc_codec.Decoder()
    decoder.feed(data)
    decoder.finish()
    return decoder.latent()


def test_latents_of_cuts_are_prefixes_and_others_are_not(pixels: np.ndarray) -> None:
    data = ctc_codec.encode(Image.fromarray(pixels))
    cuts = [_latent(data[:count]) for count in (60, 700, 3000, len(data))]
    for i, early in enumerate(cuts):
        for j, later in enumerate(cuts):
            assert is_prefix(early, later) == (i <= j), (i, j)
    changed = _latent(data[:3000])
    at = np.flatnonzero(changed.state.known)[-1]
    changed.state.value[at] += 1
    assert not is_prefix(changed, cuts[-1])


def test_prefixes_of_photographs_are_checked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(check_prefixes, [str(folder), "--cuts", "3"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("8 cuts, 0 broken promises")
    monkeypatch.setattr("prefixes.is_prefix", lambda latent, later: latent is later)
    result = CliRunner().invoke(check_prefixes, [str(folder), "--cuts", "3"])
    assert result.exit_code == 1
    assert "tall.png at byte " in result.output


# Photographs that training never sees


def test_heldout_photographs_are_chosen_by_rule(tmp_path: Path) -> None:
    folder, out = tmp_path / "folder", tmp_path / "out"
    folder.mkdir()
    for name, size in {"aaronyf-1": (900, 700), "sceaux-2": (600, 800), "other-3": (900, 700),
                       "aaronyf-4": (760, 600)}.items():  # fmt: skip
        synthetic_image(*size).save(folder / f"{name}.png")
    result = CliRunner().invoke(write_heldout, [str(folder), "-o", str(out)])
    assert result.exit_code == 0, result.output
    found = {image.name: image for image in evaluation_images([out])}
    sizes = {name: (image.width, image.height) for name, image in found.items()}
    assert sizes == {"aaronyf-1": (768, 512), "sceaux-2": (512, 768)}
    whole = np.asarray(synthetic_image(900, 700))
    assert np.array_equal(read_image(found["aaronyf-1"].path).pixels, whole[94:606, 66:834])
