"""Codecs on images: metrics, points, the cache, time and memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ctc_codec
from ctc_codec.codec.model import default_weights
from ctc_codec.evaluation.codecs import Ctc, CtcFiles, PeerError, Stream
from ctc_codec.evaluation.images import evaluation_images
from ctc_codec.evaluation.measure import Cache, Measuring, measure, measure_all
from ctc_codec.evaluation.metrics import METRICS, PSNR_OF_EQUALS, quality
from ctc_codec.image.source import psnr
from support.pictures import photograph

_METRICS = [metric.name for metric in METRICS]


def test_metrics_are_best_for_equal_images_and_fall_with_noise(pixels: np.ndarray) -> None:
    best = quality(pixels, pixels, _METRICS)
    assert best == {"psnr": PSNR_OF_EQUALS, "ms_ssim": pytest.approx(1), "ssimulacra2": pytest.approx(100)}
    noise = np.random.default_rng(0).normal(size=pixels.shape)
    little, much = (
        quality(pixels, (pixels + sigma * noise).clip(0, 255).astype(np.uint8), _METRICS) for sigma in (3, 20)
    )
    assert all(little[name] > much[name] for name in _METRICS)  # type: ignore[operator]
    assert 37 < little["psnr"] < 40  # type: ignore[operator]


def test_metrics_are_absent_where_an_image_is_too_small_for_them() -> None:
    small = np.zeros((100, 100, 3), np.uint8)
    assert quality(small, small, ["psnr", "ms_ssim"]) == {"psnr": PSNR_OF_EQUALS, "ms_ssim": None}
    with pytest.raises(ValueError, match="99x100"):
        quality(small, small[:, 1:], ["psnr"])


class _Counting:
    """A codec that tells how often it ran, and fails where it is told to."""

    name, label, setting, embedded, unit = "counting", "Counting", "", True, "bpp"

    def __init__(self, log: Path, fail: bool = False) -> None:
        self.log, self.fail = log, fail

    def version(self) -> str:
        return "1"

    def streams(self, pixels: np.ndarray) -> Iterator[Stream]:
        with self.log.open("a") as file:
            file.write(f"{pixels.shape[1]}\n")
        if self.fail and pixels.shape[1] < 150:
            raise RuntimeError("no room")
        yield Stream(0.1, 10, lambda: pixels)

        def refuse() -> np.ndarray:
            raise PeerError("cut too early")

        yield Stream(0.2, 20, refuse)


# --- points -----------------------------------------------------------------------------------------


@pytest.mark.slow
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


@pytest.mark.slow
def test_our_files_are_made_for_each_rate(pixels: np.ndarray) -> None:
    points = measure(CtcFiles(default_weights(), (0.3, 1.0)), pixels, ["psnr"])
    assert [point["asked"] for point in points] == [0.3, 1.0]
    for point in points:
        data = ctc_codec.encode(Image.fromarray(pixels), bpp=point["asked"])
        assert point["nbytes"] == len(data)
        assert point["psnr"] == pytest.approx(psnr(pixels, np.asarray(ctc_codec.decode(data))), abs=0.01)


def test_a_default_file_as_long_as_a_cut_is_measured_by_itself() -> None:
    """A cut is known by its length only among cuts."""

    class Codec(_Counting):
        def streams(self, pixels: np.ndarray) -> Iterator[Stream]:
            yield Stream(0.1, 10, lambda: pixels)
            yield Stream(0.1, 10, lambda: pytest.fail("decoded twice"))
            yield Stream(None, 10, lambda: pixels // 2)

    black_and_white = np.tile(np.arange(12, dtype=np.uint8)[:, None, None] * 20, (1, 12, 3))
    found = [p["psnr"] for p in measure(Codec(Path()), black_and_white, ["psnr"])]
    assert found[0] == found[1] == PSNR_OF_EQUALS > 20 > found[2]


def test_rates_below_the_header_have_no_point() -> None:
    tiny = photograph(16, 16)
    points = measure(Ctc(default_weights(), (0.03, 2.0)), tiny, ["psnr"])
    assert [p["asked"] for p in points] == [2.0, None]


def test_images_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for name in ("a/same", "b/same", "b/other"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(photograph(20, 10)).save(tmp_path / f"{name}.png")
    found = evaluation_images([tmp_path / "a", tmp_path / "b", tmp_path / "a"])
    assert [i.name for i in found] == ["a/same.png", "other", "b/same.png"]


# --- measuring once ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_was_measured_is_not_measured_again(folder: Path, tmp_path: Path) -> None:
    log, cache = tmp_path / "log", Cache(tmp_path / "cache")
    images, codec = evaluation_images([folder]), _Counting(log)
    arguments = (images, [codec], {"counting": {"version": 1}}, Measuring(cache, jobs=2))
    first = measure_all(*arguments)
    assert len(log.read_text().split()) == 2
    # The cut that shows nothing is no point.
    assert [p["asked"] for p in first.points["counting"]["wide"]] == [0.1]
    assert measure_all(*arguments) == first
    assert len(log.read_text().split()) == 2
    (damaged, *_) = cache.folder.iterdir()
    damaged.write_text('[{"asked"')
    assert measure_all(*arguments) == first
    assert len(log.read_text().split()) == 3
    measure_all(images, [codec], {"counting": {"version": 2}}, Measuring(cache))
    assert len(log.read_text().split()) == 5


def test_a_peer_that_fails_on_one_image_is_left_out_with_its_reason(folder: Path, tmp_path: Path) -> None:
    codec, how = _Counting(tmp_path / "log", fail=True), Measuring(Cache(tmp_path / "cache"))
    found = measure_all(evaluation_images([folder]), [codec], {"counting": {}}, how)
    assert found.points == {}
    assert found.failed == {"counting": "tall.png: RuntimeError: no room"}
