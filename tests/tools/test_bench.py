"""The benchmark: stages that add up, of functions that there are, and its tables."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

import bench
import ctc_codec
from ctc_codec.codec import picture
from ctc_codec.codec.model import load_model
from ctc_codec.codec.walk import Walk
from ctc_codec.container.coder import RangeEncoder
from support.pictures import photograph


@pytest.mark.parametrize("stage", bench._STAGES)
def test_stages_are_of_functions_that_there_are(stage: str) -> None:
    for place in bench._STAGES[stage]:
        owner, name = bench.place_of(place)
        assert callable(getattr(owner, name)), place


def test_stages_add_up_and_the_codec_is_left_as_it_was() -> None:
    image = Image.fromarray(photograph(96, 64))
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


@pytest.mark.slow
def test_benchmark_of_a_small_image(tmp_path: Path) -> None:
    Image.fromarray(photograph(128, 96)).save(tmp_path / "a.png")
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
