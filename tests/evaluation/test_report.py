"""``ctc evaluate``: the report and its page, the cache, interruptions, and errors in a line."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ctc_codec.codec.model import default_weights

pytestmark = pytest.mark.slow


def _times(folder: Path) -> dict[Path, int]:
    """When the files of a cache were written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("cache/*.json")}


@pytest.fixture(scope="module")
def report(folder: Path, evaluate: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("eval") / "report"
    codecs = "ctc,jpeg,jpeg2000,jpeg2000-layered,jpegxl-progressive"
    choice = ["--codecs", codecs, "--points", "0.1,0.3,0.5,1"]
    done = evaluate(folder, "-o", out, *choice, env=os.environ | {"PATH": ""})
    assert (out / "tables.md").read_text() == done.stdout
    assert done.stderr == f"{out / 'index.html'}: the report\n"
    return out


@pytest.fixture(scope="module")
def results(report: Path) -> dict[str, Any]:
    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is no number of JSON")

    found: dict[str, Any] = json.loads((report / "results.json").read_text(), parse_constant=refuse)
    return found


def test_report_has_all_its_parts(report: Path, results: dict[str, Any]) -> None:
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


def test_report_names_what_is_missing(report: Path, results: dict[str, Any]) -> None:
    text, page = (report / "tables.md").read_text(), (report / "index.html").read_text()
    whole = results["codecs"]["ctc"]["whole"]["psnr"]
    assert f"whole file of default quality: {whole:.2f} dB" in page
    for told in (text, page):
        assert "jpegxl-progressive is missing: cjxl is not installed (Debian" in told
        assert "ms_ssim: some image is too small" in told


def test_second_run_takes_everything_from_the_cache(report: Path, folder: Path, evaluate: Any) -> None:
    cached = _times(report)
    choice = ["--codecs", "ctc,jpeg,jpeg2000,jpeg2000-layered", "--points", "1,0.5,0.3,0.1", "--jobs", "auto"]
    done = evaluate(folder, "-o", report, *choice, "--quiet", "--json")
    assert done.stderr == ""
    assert json.loads(done.stdout)["codecs"]["ctc"]["curve"][0]["asked"] == 0.1
    assert _times(report) == cached


def test_interrupted_run_goes_on(folder: Path, evaluate: Any, tmp_path: Path) -> None:
    """And has PSNR, which tables are built on, whatever is asked for."""
    choice = [folder, "-o", tmp_path, "--codecs", "ctc,jpeg,webp", "--metrics", "ssimulacra2", "--no-times"]
    command = [sys.executable, "-m", "ctc_codec.cli", "evaluate", *map(str, choice), "--jobs", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not _times(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 130, told
    assert told.splitlines()[-1] == "ctc: interrupted"
    kept = _times(tmp_path)
    assert 1 <= len(kept) < 6
    assert json.loads(evaluate(*choice, "--json").stdout)["metrics"] == ["psnr", "ssimulacra2"]
    assert "Every image" in (tmp_path / "index.html").read_text()
    after = _times(tmp_path)
    assert kept.items() <= after.items()
    assert len(after) == 7  # 2 images, 3 codecs, and the pictures of the page


def test_bad_arguments_and_inputs_get_a_line(folder: Path, evaluate: Any, tmp_path: Path) -> None:
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
        (2, "--control goes with --ablation", [folder, "--control", default_weights()]),
        (1, "no images", [tmp_path / "empty"]),
        (1, "photo.png: not an image", [tmp_path / "bad"]),
        (1, "no such weights file", [folder, "--weights", tmp_path / "none.safetensors"]),
        (1, "not a file of published curves", [folder, "--published", tmp_path / "curves.json"]),
        (1, "file", [folder, "-o", tmp_path / "file"]),
    ):
        done = evaluate(*arguments, "--quiet", code=code, cwd=tmp_path)
        assert done.stderr.startswith("ctc: ")
        assert len(done.stderr.splitlines()) == 1
        assert words in done.stderr
    assert not (tmp_path / "report" / "results.json").exists()


def test_the_command_is_imported_without_numpy() -> None:
    code = "import sys, ctc_codec.cli.evaluate; assert not {'numpy', 'PIL', 'matplotlib'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)


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
