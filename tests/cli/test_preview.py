"""``ctc preview``: the page as a file, and the page in a browser."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ctc_codec
from ctc_codec.cli import preview as _preview
from ctc_codec.cli.preview import cuts
from ctc_codec.container.header import Header
from ctc_codec.image.source import psnr
from support.command import assert_refused, ctc, names, touch
from support.streams import changed

MakePhoto = Callable[..., Image.Image]


class Page(HTMLParser):
    """What a test asks of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.said: dict[str, str] = {}
        self._inside: list[str] = []
        self.feed(text)
        match = re.search(r"^const steps = (.*);$", text, re.MULTILINE)
        assert match is not None
        self.steps: list[dict[str, Any]] = json.loads(match[1])
        assert self.steps[-1]["src"] is None
        self.steps[-1]["src"] = self.by_id("picture")["src"]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = [dict(attrs).get("id") or tag]

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.said[self._inside[-1]] = self.said.get(self._inside[-1], "") + data

    def handle_endtag(self, tag: str) -> None:
        self._inside = []

    def by_id(self, name: str) -> dict[str, str]:
        found = [attributes for _, attributes in self.elements if attributes.get("id") == name]
        assert len(found) == 1, name
        return {key: value or "" for key, value in found[0].items()}

    @property
    def counts(self) -> list[int]:
        return [int(step["bytes"].replace(",", "")) for step in self.steps]

    def picture(self, step: int) -> Image.Image:
        kind, data = self.steps[step]["src"].split(",")
        assert kind == "data:image/webp;base64"
        return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.fixture
def photo_file(photo_ctc: bytes, here: Path) -> Path:
    (here / "photo.ctc").write_bytes(photo_ctc)
    return here / "photo.ctc"


def page_of(path: Path, *arguments: object) -> Page:
    result = ctc("preview", path, *arguments)
    assert result.code == 0, result
    return Page(path.with_suffix(".html").read_text("utf-8"))


# --- where it is cut --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "last", "steps"),
    [(100, 40_000, 20), (20, 25, 20), (23, 23, 5), (100, 101, 2), (100, 9, 3), (100, 5000, 1)],
)
def test_cuts_are_spaced_by_their_logarithm(first: int, last: int, steps: int) -> None:
    counts = cuts(first, last, steps)
    assert counts == sorted(set(counts))
    assert counts[-1] == last
    assert len(counts) <= steps
    if steps > 1 and last > 1000:
        assert (counts[0], len(counts)) == (first, steps)
        ratios = [b / a for a, b in pairwise(counts)]
        assert max(ratios) < 1.02 * min(ratios)


# --- the page ---------------------------------------------------------------------------------------


def test_page_shows_what_prefixes_decode_to(photo_file: Path, photo_ctc: bytes, photo_png: Path) -> None:
    page = page_of(photo_file, "--original", photo_png, "--frames", 4)
    assert page.counts[0] == 100
    assert page.counts[-1] == len(photo_ctc)
    assert len(page.counts) == 4
    original = np.asarray(Image.open(photo_png))
    decibels = []
    for i, count in enumerate(page.counts):
        decoded = np.asarray(ctc_codec.decode(photo_ctc[:count]))
        assert page.steps[i]["rate"] == f"{8 * count / (120 * 88):.4f}"
        assert page.steps[i]["psnr"] == f"{psnr(original, decoded):.2f}"
        decibels.append(psnr(original, decoded))
        with page.picture(i) as picture:
            assert picture.size == (120, 88)
            assert psnr(decoded, np.asarray(picture.convert("RGB"))) > 30
    assert decibels[0] + 3 < decibels[-1]
    slider = page.by_id("cut")
    assert (slider["min"], slider["max"], slider["value"], slider["type"]) == ("0", "3", "3", "range")
    assert slider["aria-label"]
    assert "disabled" not in slider
    assert page.said["facts"].startswith(f"120×88 RGB, {len(photo_ctc):,} bytes")  # noqa: RUF001
    assert page.said["facts"].endswith("complete")
    assert "cut here" not in page.said["end"]
    assert page.said["psnr"] == page.steps[-1]["psnr"]
    assert page.by_id("picture")["alt"] == f"photo.ctc, its first {len(photo_ctc):,} bytes"


def test_page_refers_to_nothing_outside(photo_file: Path) -> None:
    page = page_of(photo_file, "--frames", 2)
    for tag, attributes in page.elements:
        for name in ("src", "href", "action", "srcset", "poster", "data"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
    assert not re.search(r"(https?:|url\(|@import|//\w+\.\w)", page.text.replace(page.steps[-1]["src"], ""))
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    # without an original
    assert [step["psnr"] for step in page.steps] == [None, None]
    assert "PSNR" not in page.said.get("aside", "")
    assert re.search(r"<div hidden>\s*<dt>PSNR", page.text)


def test_file_names_are_escaped(photo_ctc: bytes, tmp_path: Path) -> None:
    name = 'a <script>alert(1)<!-- & "$width" $nothing \' \x07 é.ctc'
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / name).write_bytes(photo_ctc[:600])
    page = page_of(tmp_path / "folder" / name, "--frames", 1)
    shown = name.replace("\x07", r"\x07")
    assert page.said["h1"] == shown
    assert page.said["title"] == f"{shown}, byte by byte"
    assert page.by_id("picture")["alt"].startswith(shown)
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert "folder" not in page.text


def test_cut_file_says_where_it_ends(photo_file: Path, photo_ctc: bytes) -> None:
    photo_file.write_bytes(photo_ctc[:700])
    page = page_of(photo_file, "--frames", 3)
    assert page.counts[-1] == 700
    assert "cut" in page.said["facts"]
    assert f"{len(photo_ctc):,}" in page.said["facts"]
    assert page.said["end"] == f"700 bytes: cut here, {len(photo_ctc) - 700:,} are missing"
    start = Header.parse(photo_ctc)[1]
    photo_file.write_bytes(photo_ctc[:start])
    page = page_of(photo_file, "-f")
    assert page.counts == [start]
    assert all("disabled" in page.by_id(name) for name in ("cut", "play"))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (17, 1)])
def test_tiny_images(tmp_path: Path, make_photo: MakePhoto, size: tuple[int, int]) -> None:
    data = ctc_codec.encode(make_photo(40, 40).crop((0, 0, *size)))
    (tmp_path / "tiny.ctc").write_bytes(data)
    page = page_of(tmp_path / "tiny.ctc", "--frames", 5)
    assert page.counts[0] == (100 if len(data) > 100 else Header.parse(data)[1])
    assert page.counts[-1] == len(data)
    with page.picture(0) as picture:
        assert picture.size == size
    assert "small" in page.by_id("stage")["class"]


def test_grey_images(here: Path, make_photo: MakePhoto) -> None:
    grey = make_photo(40, 24).convert("L")
    grey.save("grey.png")
    (here / "grey.ctc").write_bytes(ctc_codec.encode(grey))
    page = page_of(here / "grey.ctc", "--original", "grey.png", "--frames", 2)
    assert " L, " in page.said["facts"]
    assert float(page.steps[-1]["psnr"]) > 25


def test_transparency_is_shown_on_a_checkerboard(tmp_path: Path, make_photo: MakePhoto) -> None:
    photo = make_photo(64, 48)
    photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    photo.save(tmp_path / "alpha.png")
    data = ctc_codec.encode(photo)
    (tmp_path / "alpha.ctc").write_bytes(data)
    page = page_of(tmp_path / "alpha.ctc", "--original", tmp_path / "alpha.png", "--frames", 3)
    assert "alpha" in page.by_id("stage")["class"]
    with page.picture(2) as picture:
        assert picture.mode == "RGBA"
        low, high = picture.getchannel("A").getextrema()
        assert low < 20
        assert high > 235
    assert float(page.steps[-1]["psnr"]) > 25
    assert float(page.steps[0]["psnr"]) + 1 < float(page.steps[-1]["psnr"])


@pytest.mark.parametrize(
    ("size", "expected"), [((300, 200), (100, 67)), ((100, 60), (100, 60)), ((7, 900), (1, 100))]
)
def test_large_images_are_shown_smaller_and_measured_whole(
    photo_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
    expected: tuple[int, int],
) -> None:
    """With a smaller limit, so that the test is fast."""
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    noisy = noise.copy()
    noisy[0, 0] ^= 0x80  # nothing is left of it in a smaller picture
    Image.fromarray(noise).save(tmp_path / "noise.png")
    monkeypatch.setattr(_preview, "SHOWN_SIDE", 100)
    monkeypatch.setattr(_preview, "frames", lambda *_: iter([Image.fromarray(noisy)]))
    header = Header(*size, b"\0\1\2\3", 5000)
    photo_file.write_bytes(header.to_bytes() + bytes(900))
    page = page_of(photo_file, "--original", tmp_path / "noise.png", "--frames", 1)
    with page.picture(0) as picture:
        assert picture.size == expected
    assert (page.by_id("picture")["width"], page.by_id("picture")["height"]) == tuple(map(str, expected))
    assert page.steps[0]["psnr"] == f"{psnr(noise, noisy):.2f}"
    assert ("scaled down" in page.text) == (size != expected)


def test_original_is_turned_upright_and_may_be_equal(
    photo_file: Path, photo_png: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(photo_png) as image:
        image.load()
    image.transpose(Image.Transpose.ROTATE_90).save("turned.png", exif=exif)
    monkeypatch.setattr(_preview, "frames", lambda *_: iter([image]))
    page = page_of(photo_file, "--original", "turned.png", "--frames", 1)
    assert page.steps[0]["psnr"] == page.said["psnr"] == "\N{INFINITY}"


# --- the command ------------------------------------------------------------------------------------


def test_outputs(photo_file: Path, photo_ctc: bytes) -> None:
    result = ctc("preview", photo_file)
    target = photo_file.with_suffix(".html")
    assert (result.code, result.out) == (0, b"")
    assert result.err == f"{photo_file} -> {target}: 20 steps, 100 to {len(photo_ctc)} bytes\n"
    assert len(Page(target.read_text("utf-8")).steps) == 20
    assert ctc("preview", photo_file, "--frames", 2, "-f").code == 0
    assert target.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert names(photo_file.parent) == ["photo.ctc", "photo.html"]
    assert ctc("preview", photo_file, "--frames", 2, "-o", "x.htm").code == 0
    result = ctc("preview", photo_file, "--frames", 2, "-o", "-")
    assert result.err.startswith(f"{photo_file} -> standard output: 2 steps, ")
    assert result.out == target.read_bytes() == Path("x.htm").read_bytes()
    result = ctc("preview", "-", "--frames", 2, stdin=photo_ctc)
    assert result.out == target.read_bytes().replace(b"photo.ctc", b"standard input")


def test_several_files_and_folders_become_pages_in_a_folder(shelf: Path, photo_ctc: bytes) -> None:
    (shelf / "photo.ctc").write_bytes(photo_ctc[:900])
    result = ctc("preview", "-r", "in", "photo.ctc", "--frames", 1, "-o", "pages")
    assert (result.code, result.counts) == (0, (5, 0, 0))
    written = sorted(str(path.relative_to("pages")) for path in Path("pages").rglob("*.html"))
    assert written == ["a/w.html", "b/c/x.html", "b/y.html", "photo.html", "z.html"]
    assert Page(Path("pages/b/y.html").read_text("utf-8")).counts == [len(photo_ctc)]
    assert Page(Path("pages/photo.html").read_text("utf-8")).counts == [900]


def test_errors_are_a_line_each_and_leave_no_page(
    photo_file: Path, photo_ctc: bytes, photo_png: Path
) -> None:
    Image.new("RGB", (40, 30)).save("small.png")
    touch("none.png")
    Path("damaged.ctc").write_bytes(changed(photo_ctc, -20, 1))
    before = names(photo_file.parent)
    for arguments, words in (
        (["photo.ctc", "--original", "small.png"], "small.png: is 40x30, and the file 120x88"),
        (["photo.ctc", "--original", "none.png"], "none.png: empty, not an image"),
        (["photo.ctc", "--original", "missing.png"], "missing.png: No such file"),
        ([photo_png, "-o", "x.html"], "not a .ctc file"),
        (["damaged.ctc"], "wrong check sum"),
        (["missing.ctc"], "No such file"),
        (["photo.ctc", "--weights", "missing.safetensors"], "no such weights"),
        (["photo.ctc", "--max-pixels", 100], "more than the limit of 100 pixels"),
        (["photo.ctc", "-o", "no/x.html"], "no such directory"),
    ):
        assert_refused(ctc("preview", *arguments), words)
    assert names(photo_file.parent) == before


def test_damage_is_found_before_anything_is_decoded(
    photo_file: Path, photo_ctc: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def frames(*arguments: object) -> None:
        raise AssertionError

    monkeypatch.setattr(_preview, "frames", frames)
    photo_file.write_bytes(photo_ctc + b"more")
    assert_refused(ctc("preview", photo_file), "4 bytes follow")


# --- the page in a browser --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_slider_changes_picture_bytes_and_quality(photo_file: Path, photo_png: Path, browser: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.select import Select
    from selenium.webdriver.support.wait import WebDriverWait

    page = page_of(photo_file, "--original", photo_png, "--frames", 6)
    browser.get(photo_file.with_suffix(".html").as_uri())

    def text(name: str) -> str:
        return browser.find_element(By.ID, name).text

    def shown(step: int) -> None:
        """Wait for a step's picture; its figures are there at once."""
        wanted = page.steps[step]
        assert text("bytes") == wanted["bytes"]
        assert text("rate") == wanted["rate"]
        assert text("psnr") == wanted["psnr"]
        assert slider.get_attribute("value") == str(step)
        told = f"{wanted['bytes']} bytes, {wanted['rate']} bits per pixel, {wanted['psnr']} dB"
        assert slider.get_attribute("aria-valuetext") == told
        script = "const p = document.querySelectorAll('#stage img'); return [p.length, p[0].src, p[0].alt];"
        alt = f"photo.ctc, its first {wanted['bytes']} bytes"
        WebDriverWait(browser, 10).until(
            lambda b: b.execute_script(script) == [1, wanted["src"], alt], f"step {step}"
        )
        box = "const b = document.getElementById('picture').getBoundingClientRect();"
        boxes.add(tuple(browser.execute_script(f"{box} return [b.x, b.y, b.width, b.height];")))
        assert browser.execute_script("return document.getElementById('picture').naturalWidth") == 120

    boxes: set[tuple[float, ...]] = set()
    slider = browser.find_element(By.ID, "cut")
    last = len(page.steps) - 1
    assert last == 5
    shown(last)
    assert browser.switch_to.active_element == slider  # arrow keys work from the start

    for step in range(last - 1, -1, -1):
        browser.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
        shown(step)
    slider.send_keys(Keys.ARROW_LEFT)
    shown(0)
    slider.send_keys(Keys.END)
    shown(last)

    browser.execute_script("document.activeElement.blur()")
    for key, step in ((Keys.HOME, 0), (Keys.ARROW_RIGHT, 1), (Keys.ARROW_RIGHT, 2), (Keys.ARROW_LEFT, 1)):
        browser.find_element(By.TAG_NAME, "body").send_keys(key)
        shown(step)
    assert len(boxes) == 1  # no jump

    play = browser.find_element(By.ID, "play")
    slider.send_keys(Keys.END)
    play.send_keys(Keys.SPACE)
    assert play.text == "Pause"
    assert text("bytes") != page.steps[last]["bytes"]
    WebDriverWait(browser, 20).until(lambda b: play.text == "Play")
    shown(last)
    browser.execute_script("arguments[0].click(); arguments[0].click();", play)
    assert play.text == "Play"
    shown(0)

    width = "return document.getElementById('picture').getBoundingClientRect().width"
    for zoom, pixels in (("4", 480), ("1", 120), ("fit", 320)):
        Select(browser.find_element(By.ID, "zoom")).select_by_visible_text(zoom)
        assert browser.execute_script(width) == pytest.approx(pixels)

    address = photo_file.with_suffix(".html").as_uri()
    requests = [
        message["params"]
        for entry in browser.get_log("performance")
        if (message := json.loads(entry["message"])["message"])["method"] == "Network.requestWillBeSent"
    ]  # of the browser's own start page, too
    asked = [request["request"]["url"] for request in requests if request["documentURL"] == address]
    assert [url for url in asked if not url.startswith("data:")] == [address]
    assert browser.get_log("browser") == []
