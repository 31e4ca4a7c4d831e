"""The benchmark: stages that add up, of functions that there are, measurements in turns, and tables."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import ctc_codec
from bench import dense, peers, sections, worker
from bench.__main__ import main, read
from bench.pictures import mosaic
from bench.stages import STAGES, Timers, place_of, places
from bench.tables import Measured, page, speed, tables
from bench.trees import Tree, Worker
from bench.worker import Job, result_of
from ctc_codec.codec import picture
from ctc_codec.codec.model import load_model
from ctc_codec.codec.walk import Walk
from ctc_codec.container.coder import RangeEncoder
from support.pictures import photograph


@pytest.fixture
def png(tmp_path: Path) -> Path:
    Image.fromarray(photograph(96, 64)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


# --- stages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
def test_stages_are_of_functions_that_there_are(stage: str) -> None:
    for place in STAGES[stage]:
        owner, name = place_of(place)
        assert callable(getattr(owner, name)), place


def test_places_of_an_earlier_tree_may_be_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STAGES, "gone", ("codec.walk:Walk.gone", "codec.gone:walk"))
    with pytest.raises(AttributeError):
        Timers().attached().__enter__()
    assert "gone" not in dict(places(former=True))
    with Timers().attached(former=True):
        pass


def test_stages_add_up_and_the_codec_is_left_as_it_was(png: Path, tmp_path: Path) -> None:
    before = Walk._slice, RangeEncoder.encode, picture.pixels
    job = Job("encode", str(png), str(tmp_path / "a.ctc"), threads=1, stages=True)
    result = result_of(job)
    with Image.open(png) as image:
        assert (tmp_path / "a.ctc").read_bytes() == ctc_codec.encode(image)  # timers change nothing
    assert before == (Walk._slice, RangeEncoder.encode, picture.pixels)
    times = result["stages"]
    assert sum(times.values()) == pytest.approx(result["ms"])
    assert set(times) >= {"image IO", "transform", "inputs", "networks", "context", "rows", "order", "coding",
                          "state", "means", "inverse wavelet", "decisions", "other"}  # fmt: skip
    assert times["other"] < result["ms"] / 2
    decoded = result_of(Job("decode", str(tmp_path / "a.ctc"), threads=1, stages=True))
    assert decoded["bytes"] == result["bytes"] == (tmp_path / "a.ctc").stat().st_size
    assert "decisions" not in decoded["stages"]
    assert decoded["stages"]["image IO"] > 0


def test_time_of_a_stage_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "thread_time", time.perf_counter)
    timers = Timers()

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


def test_multiplications_of_the_networks_are_counted() -> None:
    networks = load_model(threads=1).context.networks
    timers = Timers()
    with timers.attached(), timers.stage("other"):
        networks[0].predict(np.zeros((1, 72, 20, 30), np.uint8))
        networks[0].predict(np.zeros((1, 72, 10, 10), np.uint8))
    kernels = [t for name, t in networks[0].session.tensors.items() if name.endswith(".weight")]
    (entry,) = timers.networks.values()
    assert entry["calls"] == 2
    assert entry["macs"] == 700 * sum(kernel.size for kernel in kernels)
    assert timers.seconds["networks"] >= entry["seconds"] > 0


@pytest.mark.parametrize("kind", dense.KINDS)
def test_rate_of_a_dense_convolution(kind: str) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        dense.model_of(kind, 8, (5, 6)), providers=["CPUExecutionProvider"]
    )
    (inputs,) = session.get_inputs()
    assert inputs.shape == [1, 8, 5, 6]
    assert inputs.type == ("tensor(float)" if kind == "float32" else "tensor(uint8)")
    assert 0.01 < dense.rate(kind, 32, (48, 64), seconds=0.01) < 100_000


# --- trees and pictures -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_tree_is_measured_in_processes_of_its_own(tmp_path: Path, png: Path) -> None:
    package = tmp_path / "tree" / "src" / "ctc_codec"
    (package / "cli").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "cli" / "__init__.py").write_text("")
    (package / "cli" / "__main__.py").write_text("import sys; sys.exit('ctc: it has no codec\\n')")
    with pytest.raises(RuntimeError, match="ctc --help: refused: it has no codec"):
        Tree("before", tmp_path / "tree").command("--help")
    seconds, peak = Tree("after").command("--help")
    assert seconds > 0 < peak
    with Worker(Tree("after")) as process:
        result = process.do(Job("encode", str(png), files=False))
        assert result["ms"] > 0 < result["bytes"]
        assert result["peak"] is None or result["peak"] > 20e6
        with pytest.raises(RuntimeError, match="ended with code 1"):
            process.do(Job("encode", "missing.png"))


def test_mosaics_have_their_size() -> None:
    image = Image.fromarray(photograph(30, 20))
    large = mosaic(image, 0.015)
    assert (large.mode, *large.size) == ("RGB", 150, 100)
    assert large.crop((0, 0, 30, 20)).tobytes() == image.convert("RGB").tobytes()
    assert mosaic(image, 0.00015).size == (15, 10)


def test_quartiles() -> None:
    assert sections.quartiles([5.0]) == [5, 5, 5]
    assert sections.quartiles([9.0, 1.0, 5.0, 3.0, 7.0]) == [3, 5, 7]


# --- documents --------------------------------------------------------------------------------------


def test_earlier_figures_stand_before_an_arrow() -> None:
    found = Measured({"a": [9.0, 10.0, 12.0], "b": [1.0, 1.0, 1.0]}, {"a": [20.0, 25.0, 30.0]})
    assert found.cell("a") == "25.0 → 10.0 ± 1.50 (2.50x)"
    assert found.cell("a", spread=False, scale=100) == "2500 → 1000"
    assert found.cell("b") == "1.00"
    assert found.cell("c") == ""


def test_speed_of_networks_beside_dense_convolutions() -> None:
    rates = {"dense/4/u8 x s8": [1, 100, 1], "dense/8/u8 x s8": [1, 200, 1]}
    entries = {"4": {"macs": 1e9, "seconds": 0.02}, "8": {"macs": 4e9, "seconds": 0.03}}
    after = {"measured": rates, "networks": {"x": entries}}
    found = speed({"runs": 5, "after": after}, "x")
    assert found == {"gmac": 1.0, "gmac_s": pytest.approx(100.0), "u8 x s8": pytest.approx(0.6)}


@pytest.mark.slow
def test_benchmark_of_a_small_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.__main__.MEGAPIXELS", (0.01, 0.02))
    monkeypatch.setattr(sections, "PROCESS_RUNS", 1)
    monkeypatch.setattr(peers, "NAMES", ("jpeg2000", "webp"))
    monkeypatch.setattr(sections, "BATCHES", ("--jobs 1", "--jobs 2"))
    Image.fromarray(photograph(128, 96)).save(tmp_path / "photo.png")
    out, shown = tmp_path / "bench.json", tmp_path / "bench.md"
    arguments = ["--image", str(tmp_path / "photo.png"), "--effort", "1", "--stages", "1", "--runs", "1"]
    result = CliRunner().invoke(main, [*arguments, "--images", "2", "-o", str(out), "-o", str(shown)])
    assert result.exit_code == 0, result.output
    document = json.loads(out.read_text())
    _check(document)
    for text in (
        "| ctc --help |", "| encode, effort 1, one thread, ms | 0.1 bpp |", "| networks |", "| WebP |",
        "| 32 channels, 64x48 |", "| 0.02 |", "| 2 images, s |",
    ):  # fmt: skip
        assert text in result.stdout
    assert tables(document) in shown.read_text("utf-8")

    again = CliRunner().invoke(main, ["--read", str(out), "--against", str(out)])
    assert again.exit_code == 0
    assert "(1.00x)" in again.stdout
    assert " → " not in result.stdout


def _check(document: dict[str, Any]) -> None:
    assert document["format"] == "ctc-bench-2"
    assert document["image"] == {"name": "photo", "width": 128, "height": 96}
    found = document["after"]["measured"]
    median = {name: quartiles[1] for name, quartiles in found.items()}
    for kind in ("encode", "decode"):
        for rate in ("0.1", "0.3", "0.5", "1", "whole"):
            assert median[f"total/{kind}/1/{rate}/ms"] > 0
            assert median[f"stages/{kind}/1/{rate}/total"] > median[f"stages/{kind}/1/{rate}/networks"] > 0
            assert document["after"]["networks"][f"{kind}/1/{rate}"]["32"]["macs"] > 0
        assert median[f"bytes/{kind}/1/0.1"] == pytest.approx(0.1 * 128 * 96 / 8, abs=20)
        assert median[f"size/{kind}/0.02/ms"] > 0
        assert median[f"batch/{kind}/--jobs 2/s"] > 0
        assert median[f"peer/webp/{kind}/0.5/ms"] > 0 < median[f"peer/ctc/{kind}/1/ms"]
    assert median["peer/webp/encode/1/bpp"] == pytest.approx(1, abs=0.2)
    assert median["process/--help/ms"] < median["process/encode 64x64/ms"]
    assert 5 < median["process/truncate/MB"] < median["process/encode 64x64/MB"]
    assert worker.peak_memory() is None or median["size/encode/0.01/MB"] > 20


def test_the_page_is_of_the_document_beside_it() -> None:
    docs = Path(__file__).parents[2] / "docs"
    assert (docs / "SPEED.md").read_text("utf-8") == page(read(docs / "bench.json"))
