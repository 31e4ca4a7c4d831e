"""``ctc encode``: what its options ask of the encoder, and what is said of images. How files come out is
in tests/codec."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ctc_codec
from ctc_codec.container.header import Header
from ctc_codec.image.source import psnr
from support.command import Result, assert_refused, ctc, names, pixels
from support.pictures import snapshot

MakePhoto = Callable[..., Image.Image]


def test_output_is_beside_the_input(files: Path, photo_ctc: bytes) -> None:
    assert ctc("encode", "photo.png") == Result(
        0,
        b"",
        f"photo.png -> photo.ctc: 120x88, {len(photo_ctc)} bytes, {8 * len(photo_ctc) / 120 / 88:.4f} bpp\n",
    )
    assert (files / "photo.ctc").read_bytes() == photo_ctc


@pytest.mark.parametrize(
    ("args", "options"),
    [
        ("", {}),
        ("-q 85", {}),
        ("-q 30.5", {"quality": 30.5}),
        ("--quality 100", {"quality": 100}),
        ("--bpp 0.5", {"bpp": 0.5}),
        ("--bytes 2k", {"nbytes": 2000}),
        ("--psnr 32", {"psnr": 32}),
        ("-e 1", {"effort": 1}),
        ("--effort 9", {"effort": 9}),
        ("--no-context", {"context": False}),
        ("--no-quality-table", {"quality_table": False}),
        ("--keep-metadata", {"metadata": True}),
        ("--background #00ff00", {"background": "#00ff00"}),
        ("-q 40 -e 3 --background red", {"quality": 40, "effort": 3, "background": "red"}),
    ],
)  # fmt: skip
def test_options_are_those_of_the_encoder(
    here: Path, make_photo: MakePhoto, args: str, options: dict[str, Any]
) -> None:
    """The image is transparent on the left, and has EXIF."""
    image, exif = make_photo(64, 48), Image.Exif()
    image.putalpha(Image.fromarray(np.repeat([[0, 255]], 32, axis=1).repeat(48, axis=0).astype(np.uint8)))
    exif[0x010E] = "a picture"
    image.save("clear.png", exif=exif)
    found = ctc("encode", "clear.png", *args.split(), "-o", "-").out
    with Image.open("clear.png") as image:
        assert found == ctc_codec.encode(image, **options)
        assert (found == ctc_codec.encode(image)) == (not options)


@pytest.fixture
def measured(photo_png: Path) -> Callable[[bytes], float]:
    """PSNR of a stream of photo.png."""
    original = pixels(photo_png)
    return lambda data: psnr(original, np.asarray(ctc_codec.decode(data)))


@pytest.mark.parametrize(
    ("target", "count"), [("--bytes 200", 200), ("--bytes 6k", 6000), ("--bpp 0.5", 660), ("--bpp 3", 3960)]
)
def test_encoding_to_a_rate_fills_its_budget(
    files: Path, measured: Callable[[bytes], float], target: str, count: int
) -> None:
    """And is as good as the same cut of a file with all planes."""
    small = ctc("encode", "photo.png", *target.split(), "-o", "-").out
    assert len(small) == count
    whole = ctc("encode", "photo.png", "-q", 100, "-o", "-").out
    assert measured(small) == pytest.approx(measured(whole[:count]), abs=0.2)


@pytest.mark.parametrize(
    ("args", "least", "slack"),
    [
        # So small an image has few steps: with the low band of the next plane it gains a decibel at once.
        ("--psnr 24", 24, 1.2),
        *((f"--psnr {target}", target, 0.5) for target in (32, 40.3, 47)),
        *((f"-q {quality}", db, 0.5) for quality, db in [(1, 23), (40, 30.8), (84.5, 39.8), (85, 40)]),
        *((f"-q {quality}", db, 0.5) for quality, db in [(90, 42), (97.5, 48)]),
        ("-q 100", 49.5, 1.0),
    ],
)
def test_a_file_ends_where_its_psnr_is_reached(
    files: Path, measured: Callable[[bytes], float], args: str, least: float, slack: float
) -> None:
    data = ctc("encode", "photo.png", *args.split(), "-o", "-").out
    assert least <= measured(data) < least + slack
    (found,) = ctc("info", "--planes", "--json", "-", stdin=data).objects
    assert found["state"] == "complete"
    assert (found["planes_held"] == found["planes"] == 7) == (args == "-q 100")


@pytest.mark.slow
def test_effort_takes_slices_and_saves_bytes(files: Path) -> None:
    Image.fromarray(snapshot(400, 300)).save("a.png")
    low, high = (ctc("encode", "a.png", *effort, "-o", "-").out for effort in (("-e", 1), ("--effort", 9)))
    assert len(high) < 0.95 * len(low)
    assert Header.parse(high)[0].slices > 2 * Header.parse(low)[0].slices


def test_transparency_and_metadata_come_back(here: Path, make_photo: MakePhoto) -> None:
    image, exif = make_photo(40, 30), Image.Exif()
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    exif[0x010E] = "a picture"
    image.save("clear.png", exif=exif)
    assert ctc("encode", "clear.png", "--keep-metadata").code == 0
    assert ctc("decode", "clear.ctc", "-o", "back.png").code == 0
    with Image.open("back.png") as back:
        assert back.getexif()[0x010E] == "a picture"
    assert (pixels("back.png")[..., 3] == pixels("clear.png")[..., 3]).all()


def test_changes_on_the_way_in_are_told(
    here: Path, make_photo: MakePhoto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if nothing can be written afterwards."""
    wide = np.asarray(make_photo(40, 30).convert("L")).astype(np.uint16) * 257
    Image.fromarray(wide).save("wide.png")
    note = "ctc: wide.png: note: 16-bit samples are reduced to 8 bits"
    result = ctc("encode", "wide.png")
    assert (result.code, result.lines[0], len(result.lines)) == (0, note, 2)
    assert ctc("encode", "wide.png", "-f", "--quiet") == Result(0, b"", "")
    Path("wide.ctc").unlink()
    Path("wide.ctc").mkdir()
    monkeypatch.setattr("ctc_codec.cli.work.check_output", lambda *_: None)  # seen when it is written
    failed = ctc("encode", "wide.png")
    assert_refused(failed, lines=2)
    assert failed.lines == [note, "ctc: wide.png: wide.ctc: is a directory"]


@pytest.mark.parametrize(("target", "words"), [("--psnr 200", "200 dB"), ("--bytes 5", "header")])
def test_targets_out_of_reach_are_refused(files: Path, target: str, words: str) -> None:
    assert_refused(ctc("encode", "photo.png", *target.split(), "-o", "x.ctc"), "ctc: photo.png: ", words)
    assert not (files / "x.ctc").exists()


@pytest.mark.parametrize(
    ("target", "words", "count"),
    [
        ("--bytes 22", "22 bytes hold no picture yet: ", 22),
        ("--bpp 0.001", "0.001 bpp are 1 bytes, which hold no picture: ", None),
        ("--bpp 30", "the whole file has ", None),
        ("--bytes 1M", "the whole file has ", None),
    ],
)
def test_a_target_that_is_met_in_letters_alone_is_noted(
    files: Path, target: str, words: str, count: int | None
) -> None:
    result = ctc("encode", "photo.png", *target.split(), "-o", "x.ctc")
    assert result.code == 0
    (note,) = (line for line in result.lines if "note" in line)
    assert note.startswith(f"ctc: photo.png: note: {words}")
    size = Path("x.ctc").stat().st_size
    assert count in (None, size)
    (facts,) = ctc("info", "x.ctc", "--json").objects
    assert facts.get("holds_picture", True) == (count is None)
    if "whole" in words:
        assert f"{size} bytes" in note
        assert facts["planes"] == 7
        assert re.search(r"bpp, 4\d\.\d dB", note) or re.search(r"bpp, 5\d\.\d dB", note)
    if words.endswith("picture: "):
        assert f"{size} bytes are written" in note


# --- what is lost -----------------------------------------------------------------------------------


def _pages(count: int) -> bytes:
    first, *others = (Image.effect_noise((40, 30), 50 + 10 * page) for page in range(count))
    out = io.BytesIO()
    first.save(out, "TIFF", save_all=True, append_images=others)
    return out.getvalue()


def test_an_input_is_not_removed_with_what_is_not_coded_of_it(here: Path, make_photo: MakePhoto) -> None:
    Path("pages.tif").write_bytes(_pages(3))
    Path("page.tif").write_bytes(_pages(1))
    Image.new("1", (300, 200)).save("fax.png")
    Image.fromarray(np.tile(np.uint8([[0, 255], [255, 0]]), (100, 150))).save("checks.png")
    result = ctc("encode", *sorted(names(here)), "--rm", "--quiet", "-q", 99)
    assert result.code == 0
    for name, why in (
        ("pages.tif", "only the first of several pages is coded"),
        ("checks.png", "it is smaller than its output"),
    ):
        assert f"ctc: {name}: warning: the input is not removed: {why}" in result.lines
    assert names(here) == ["checks.ctc", "checks.png", "fax.ctc", "page.ctc", "pages.ctc", "pages.tif"]


def test_metadata_that_go_with_an_input_are_told(here: Path, make_photo: MakePhoto) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    for name, more, words in (
        ("a.jpg", (), ["ctc: a.jpg: warning: EXIF are not kept (--keep-metadata)"]),
        ("b.jpg", ("--keep-metadata",), []),
    ):
        make_photo(160, 120).save(name, exif=exif, quality=98)
        result = ctc("encode", name, "--rm", "--quiet", *more)
        assert (result.code, result.lines) == (0, words)
        assert not Path(name).exists()


def test_metadata_that_a_size_does_not_take_are_told(here: Path, make_photo: MakePhoto) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker" + "".join(map(chr, range(33, 127)))
    make_photo(160, 120).save("a.png", exif=exif)
    result = ctc("encode", "a.png", "--keep-metadata", "--bytes", 400)
    assert "ctc: a.png: note: EXIF would come behind the 400 bytes of the file: not kept" in result.lines
    assert "EXIF" not in ctc("encode", "a.png", "--keep-metadata", "--bytes", 4000, "-f").err


def test_notes_are_in_json_too(here: Path) -> None:
    Path("pages.tif").write_bytes(_pages(2))
    (facts,) = ctc("encode", "pages.tif", "--json", "--quiet").objects
    assert facts["notes"] == ["only the first of several pages is coded"]
