"""``ctc decode``: image formats, frames, and files that are damaged or of others."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ctc_codec
from ctc_codec.container.blocks import BLOCK_BYTES as BLOCK
from ctc_codec.container.header import Header
from support.command import (
    PLAIN,
    Result,
    assert_misused,
    assert_refused,
    ctc,
    names,
    pixels,
    spawn,
    wait_until,
)
from support.streams import changed, with_header

MakePhoto = Callable[..., Image.Image]

# --- images -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "name", "kind"),
    [
        ("", "whole.png", "PNG"),
        ("-o a.jpg", "a.jpg", "JPEG"),
        ("-o a.JPEG", "a.JPEG", "JPEG"),
        ("-o a.bmp", "a.bmp", "BMP"),
        ("--format bmp", "whole.bmp", "BMP"),
        ("-o a --format webp", "a", "WEBP"),
        ("--format .BMP", "whole.bmp", "BMP"),
        ("-o a.jpeg --format jpg", "a.jpeg", "JPEG"),
        ("-c", None, "PNG"),
        ("-d -o a.png", "a.png", "PNG"),
        ("-o - --format png", None, "PNG"),
        ("-o - --format jpg", None, "JPEG"),
        ("-o - --format PPM", None, "PPM"),
    ],
)
def test_image_format_is_that_of_an_option_or_the_suffix(
    files: Path, args: str, name: str | None, kind: str
) -> None:
    before = names(files)
    result = ctc("decode", "whole.ctc", *args.split())
    assert result.code == 0
    assert names(files) == sorted([*before, *filter(None, [name])])
    with Image.open(name or BytesIO(result.out)) as image:
        assert (image.format, image.mode, image.size) == (kind, "RGB", (120, 88))


@pytest.mark.parametrize("target", [("--bpp", "0.4"), ("--bytes", "300")])
def test_decoding_to_a_rate_is_decoding_the_truncated_file(files: Path, target: tuple[str, str]) -> None:
    assert ctc("decode", "whole.ctc", *target, "-o", "a.png").code == 0
    assert ctc("truncate", "whole.ctc", *target, "-o", "cut.ctc").code == 0
    assert ctc("decode", "cut.ctc", "-o", "b.png").code == 0
    assert (files / "a.png").read_bytes() == (files / "b.png").read_bytes()


def test_figures_are_those_of_the_file_that_is_named(files: Path, photo_ctc: bytes) -> None:
    result = ctc("decode", "whole.ctc", "--bytes", 3000, "-o", "a.jpg", "--json")
    written = Path("a.jpg").stat().st_size
    assert result.err == "whole.ctc -> a.jpg: 120x88, from 3000 bytes, 2.2727 bpp\n"
    (facts,) = result.objects
    assert (facts["bytes"], facts["from_bytes"]) == (written, 3000)
    assert facts["bpp"] == pytest.approx(8 * written / (120 * 88), abs=1e-5)
    assert facts["from_bpp"] == pytest.approx(8 * 3000 / (120 * 88), abs=1e-5)
    result = ctc("decode", "whole.ctc", "--progressive-every", 4000, "-o", "f%d.png", "--json")
    size = len(photo_ctc)
    frames = -(-size // 4000)
    assert f" f%d.png: 120x88, {frames} frames, from {size} bytes, " in result.err
    assert (result.objects[0]["frames"], result.objects[0]["from_bytes"]) == (frames, size)
    assert "bytes" not in result.objects[0]


def test_a_rate_of_photographs_makes_pictures_of_icons(here: Path, make_photo: MakePhoto) -> None:
    """0.3 bpp of 16x16 pixels is less than a header."""
    Path("icon.ctc").write_bytes(ctc_codec.encode(make_photo(16, 16)))
    for args, output in ((("decode",), "a.png"), (("truncate",), "a.ctc")):
        result = ctc(*args, "icon.ctc", "--bpp", 0.3, "-o", output)
        assert result.code == 0
        assert "note: 0.3 bpp are 9 bytes, too few: the smallest picture has " in result.lines[0]
    least = Path("a.ctc").stat().st_size
    assert f"from {least} bytes" in ctc("decode", "a.ctc", "-o", "b.png").err
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
    assert np.ptp(pixels("a.png")) > 0
    assert ctc("truncate", "icon.ctc", "--bytes", least - 1, "-o", "b.ctc").code == 0
    assert ctc("info", "a.ctc", "--json").objects[0]["holds_picture"] is True
    assert ctc("info", "b.ctc", "--json").objects[0]["holds_picture"] is False


@pytest.mark.parametrize("more", [(), ("--thumbnail",), ("--progressive-every", "20")])
def test_a_picture_that_is_none_yet_is_noted(files: Path, photo_ctc: bytes, more: tuple[str, ...]) -> None:
    start = Header.parse(photo_ctc)[1]
    (files / "short.ctc").write_bytes(photo_ctc[:start])
    result = ctc("decode", "short.ctc", "-o", "x%d.png" if more[1:] else "x.png", *more)
    assert result.code == 0
    assert (f"ctc: short.ctc: note: {start} bytes hold no picture yet" in result.lines) == (len(more) < 2)
    assert ctc("truncate", "whole.ctc", "--bytes", start, "-o", "y.ctc").lines[0].endswith("no picture yet")


@pytest.mark.parametrize("more", [("--thumbnail",), ("--bytes", "900"), ("--bpp", "0.5")])
def test_a_file_is_not_removed_of_which_a_part_was_decoded(files: Path, more: tuple[str, ...]) -> None:
    result = ctc("decode", "whole.ctc", "-o", "x.png", "--rm", "--quiet", *more)
    words = "the input is not removed: it holds more than was decoded"
    assert (result.code, result.lines) == (0, [f"ctc: whole.ctc: warning: {words}"])
    assert Path("whole.ctc").exists()


def test_gif_keeps_the_transparency_of_grey(here: Path) -> None:
    alpha = np.repeat(np.uint8([[0, 255]]), 8, axis=1).repeat(8, axis=0)
    grey = Image.merge("LA", (Image.linear_gradient("L").resize((16, 8)), Image.fromarray(alpha)))
    Path("a.ctc").write_bytes(ctc_codec.encode(grey))
    assert "note" not in ctc("decode", "a.ctc", "-o", "a.gif").err
    with Image.open("a.gif") as image:
        assert np.array_equal(np.asarray(image.convert("RGBA"))[..., 3], alpha)


def test_lossy_formats_have_a_quality(files: Path) -> None:
    sizes = []
    for quality in ("20", "60", "95"):
        assert ctc("decode", "whole.ctc", "-o", f"{quality}.jpg", "--quality", quality).code == 0
        sizes.append(Path(f"{quality}.jpg").stat().st_size)
    assert sizes == sorted(set(sizes))
    assert ctc("decode", "whole.ctc", "-o", "a.jpg").code == 0
    assert Path("a.jpg").read_bytes() == Path("95.jpg").read_bytes()
    assert_misused(ctc("decode", "whole.ctc", "-o", "a.png", "--quality", 60), "PNG has no quality")


@pytest.mark.parametrize(("suffix", "side"), [("jpg", 65500), ("webp", 16383), ("gif", 65535), ("ico", 256)])
def test_limits_of_a_format_are_told_before_decoding(here: Path, suffix: str, side: int) -> None:
    """Of a file that no weights decode."""
    Path("wide.ctc").write_bytes(with_header(PLAIN, width=70_000, height=2))
    result = ctc("decode", "wide.ctc", "-o", f"x.{suffix}")
    assert_refused(result, f"holds at most {side} pixels a side, not 70000x2")
    assert names(here) == ["wide.ctc"]


def test_what_an_image_format_cannot_hold_is_told(here: Path, make_photo: MakePhoto) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    make_photo(32, 24).save("a.png", exif=exif, dpi=(300, 300))
    assert ctc("encode", "a.png", "--keep-metadata").err.count("note") == 0
    note = "ctc: a.ctc: note: BMP does not hold EXIF: not written\n"
    assert note in ctc("decode", "a.ctc", "-o", "a.bmp").err
    assert "note" not in ctc("decode", "a.ctc", "-o", "a.jpg").err
    with Image.open("a.jpg") as image:
        assert image.getexif()[0x010F] == "Maker"
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)


def test_a_format_without_transparency_gets_a_background(here: Path, make_photo: MakePhoto) -> None:
    image = make_photo(64, 48)
    image.putalpha(Image.fromarray(np.repeat([[0, 255]], 32, axis=1).repeat(48, axis=0).astype(np.uint8)))
    (here / "clear.ctc").write_bytes(ctc_codec.encode(image))
    result = ctc("decode", "clear.ctc", "-o", "white.jpg")
    assert result.code == 0
    assert result.lines[0].startswith("ctc: clear.ctc: note: JPEG does not hold this transparency")
    assert pixels("white.jpg")[:, :24].min() > 240
    assert ctc("decode", "clear.ctc", "-o", "quiet.jpg", "--quiet") == Result(0, b"", "")
    result = ctc("decode", "clear.ctc", "-o", "blue.jpg", "--background", "blue")
    assert len(result.lines) == 1
    assert np.abs(pixels("blue.jpg")[:, :24].mean(axis=(0, 1)) - (0, 0, 255)).max() < 10


def test_thumbnails_have_an_eighth_of_each_side(files: Path, photo_ctc: bytes) -> None:
    result = ctc("decode", "whole.ctc", "--thumbnail", "-o", "small.png")
    assert result.code == 0
    assert "15x11" in result.err
    expected = np.asarray(ctc_codec.thumbnail(photo_ctc))
    assert (pixels("small.png") == expected).all()


# --- frames -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["whole.ctc", "-"])
def test_frames_are_those_of_the_prefixes(files: Path, photo_ctc: bytes, source: str) -> None:
    step = len(photo_ctc) // 3 - 1
    args = ("decode", source, "--progressive-every", step, "-o", "%%f-%02d.png")
    result = ctc(*args, stdin=photo_ctc)
    assert result.code == 0, result
    assert sorted(files.glob("%f*")) == [files / f"%f-{i:02}.png" for i in (1, 2, 3, 4)]
    for i, count in enumerate((step, 2 * step, 3 * step, len(photo_ctc)), 1):
        frame_pixels = pixels(files / f"%f-{i:02}.png")
        assert (frame_pixels == np.asarray(ctc_codec.decode(photo_ctc[:count]))).all()
    assert_refused(ctc(*args, stdin=photo_ctc), "%f-01.png", "exists already")


def test_frames_appear_while_bytes_arrive(files: Path, photo_ctc: bytes) -> None:
    with spawn("decode", "-", "--progressive-every", 300, "-o", "f%d.png") as process:
        assert process.stdin is not None
        process.stdin.write(photo_ctc[:450])
        process.stdin.flush()
        wait_until((files / "f1.png").exists, 60)
        assert not (files / "f2.png").exists()
        process.stdin.close()
        assert process.wait(timeout=60) == 0
    assert [path.name for path in sorted(files.glob("f*.png"))] == ["f1.png", "f2.png"]


def test_no_frame_comes_of_less_than_a_header_or_of_damage(files: Path, photo_ctc: bytes) -> None:
    args = ("decode", "-", "--progressive-every", 10, "-o", "f%d.png")
    assert_refused(ctc(*args, stdin=photo_ctc[:15]), "standard input", "cut inside the header")
    assert not (files / "f1.png").exists()
    start = Header.parse(photo_ctc)[1]
    assert ctc(*args, stdin=photo_ctc[: start + 15]).code == 0
    wanted = (start + 15 + 9) // 10 - (start - 1) // 10
    assert len(list(files.glob("f*.png"))) == wanted
    assert (files / f"f{wanted}.png").exists()
    damaged = changed(photo_ctc, len(photo_ctc) - 5, 1)
    step = ("--progressive-every", len(photo_ctc) // 2)
    result = ctc("decode", "-", *step, "-o", "d%d.png", stdin=damaged)
    assert_refused(result, "standard input", "damaged between bytes")
    result = ctc("decode", "-", *step, "-o", "d%d.png", "--accept-damage", "-f", stdin=damaged)
    assert (result.code, result.lines[0].startswith("ctc: standard input: warning: damaged")) == (0, True)


# --- damaged and foreign files ----------------------------------------------------------------------


HUGE = 2**24 - 1
BAD_STREAMS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty file": (lambda whole: b"", "empty"),
    "a PNG": (lambda whole: b"\x89PNG\r\n\x1a\n" + bytes(50), "not a .ctc file"),
    "cut inside the header": (lambda whole: whole[: Header.parse(whole)[1] - 1], "cut inside the header"),
    "other weights": (lambda whole: with_header(whole, fingerprint=b"\xca\xfe\0\1"), "cafe0001"),
    "damaged header": (lambda whole: changed(whole, 7, 1), "damaged header"),
    "damaged payload": (lambda whole: changed(whole, len(whole) // 2, 1), "damaged between bytes"),
    "bytes at the end": (lambda whole: whole + b"\n", "1 bytes follow"),
    "absurd dimensions": (lambda whole: with_header(whole, width=HUGE, height=HUGE), str(HUGE)),
}


@pytest.mark.parametrize("case", BAD_STREAMS)
def test_bad_streams_fail_in_one_line_and_leave_nothing(files: Path, photo_ctc: bytes, case: str) -> None:
    make, word = BAD_STREAMS[case]
    (files / "bad.ctc").write_bytes(make(photo_ctc))
    (files / "bad.png").write_bytes(b"precious")
    before = names(files)
    assert_refused(ctc("decode", "bad.ctc", "-f"), "bad.ctc", word)
    assert_refused(ctc("decode", "bad.ctc", "-f", "--quiet"), "bad.ctc", word)
    assert names(files) == before
    assert (files / "bad.png").read_bytes() == b"precious"


@pytest.mark.parametrize("block", [0, 1, 2])
def test_damage_can_be_accepted_for_what_stands_before_it(
    here: Path, three_blocks: bytes, block: int
) -> None:
    at = Header.parse(three_blocks)[1] + block * BLOCK
    damage = f"damaged between bytes {at} and {min(at + BLOCK, len(three_blocks))} (wrong check sum)"
    (here / "bad.ctc").write_bytes(changed(three_blocks, at + 9, 16))
    assert_refused(ctc("decode", "bad.ctc"), f"ctc: bad.ctc: {damage}")
    assert names(here) == ["bad.ctc"]
    result = ctc("decode", "bad.ctc", "--quiet", "--accept-damage")
    assert result == Result(0, b"", f"ctc: bad.ctc: warning: {damage}\n")
    assert (pixels("bad.png") == np.asarray(ctc_codec.decode(three_blocks[:at]))).all()


def test_figures_are_those_of_the_part_before_the_damage(files: Path, photo_ctc: bytes) -> None:
    used = Header.parse(photo_ctc)[1] + BLOCK
    (files / "bad.ctc").write_bytes(changed(photo_ctc, used + 1, 1))
    result = ctc("decode", "bad.ctc", "--accept-damage", "-o", "x.png", "--json")
    assert f"from {used} bytes, {8 * used / (120 * 88):.4f} bpp" in result.err
    (facts,) = result.objects
    assert facts["from_bytes"] == used
    assert facts["psnr"] == pytest.approx(ctc_codec.info(photo_ctc[:used]).psnr, abs=1e-3)
    assert facts["notes"] == [result.lines[0].removeprefix("ctc: bad.ctc: ")]


def test_damage_is_no_reason_to_refuse_the_part_before_it(files: Path, photo_ctc: bytes) -> None:
    (files / "bad.ctc").write_bytes(changed(photo_ctc, len(photo_ctc) - 5, 1))
    assert ctc("decode", "bad.ctc", "--bytes", 300, "-o", "a.png").code == 0
    assert ctc("decode", "whole.ctc", "--bytes", 300, "-o", "b.png").code == 0
    assert (files / "a.png").read_bytes() == (files / "b.png").read_bytes()
