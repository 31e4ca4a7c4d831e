"""The ``ctc`` command as its users meet it: streams, exit codes, messages, and no half-written files.

Most tests call the command in this process, where weights are loaded once; those about processes, pipes and
signals run the installed command.
"""

from __future__ import annotations

import binascii
import dataclasses
import json
import os
import pty
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features
from safetensors.numpy import save_file

import ctc_codec
from ctc_codec.container.blocks import frame
from ctc_codec.container.header import Header
from ctc_codec.errors import CtcError
from ctc_codec.image.open import open_image
from ctc_codec.image.source import psnr, source_image
from support.command import Result, assert_misused, assert_refused, ctc, names, run, run_shell, spawn
from support.pictures import snapshot

HUGE = "16777215"
NOT_PHOTO = Header(64, 48, b"\1\2\3\4", 10_000)
PLAIN = NOT_PHOTO.to_bytes() + frame(random.Random(1).randbytes(10_000))
"""A file that no weights decode: good enough for `truncate` and `info --header-only`."""
PLAIN_HEADER = len(NOT_PHOTO.to_bytes())

MakePhoto = Callable[..., Image.Image]


def with_header(data: bytes, **changes: object) -> bytes:
    """A file with other words in its header and a right check sum."""
    header, start = Header.parse(data)
    return dataclasses.replace(header, **changes).to_bytes() + data[start:]  # type: ignore[arg-type]


def with_version(data: bytes, version: int) -> bytes:
    start = Header.parse(data)[1]
    head = data[:4] + bytes([version]) + data[5 : start - 2]
    return head + binascii.crc_hqx(head, 0xFFFF).to_bytes(2, "big") + data[start:]


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(data)))


pytestmark = pytest.mark.usefixtures("process_state")


@pytest.fixture
def files(files: Path) -> Path:
    """A working directory with photo.png, whole.ctc (its stream) and plain.ctc."""
    (files / "plain.ctc").write_bytes(PLAIN)
    return files


# --- names and streams ------------------------------------------------------------------------------


def test_encode_writes_beside_its_input(files: Path, photo_ctc: bytes) -> None:
    result = ctc("encode", "photo.png")
    assert result.code == 0, result
    assert (files / "photo.ctc").read_bytes() == photo_ctc
    assert result.out == b""
    assert "photo.ctc" in result.err
    assert str(len(photo_ctc)) in result.err


def test_decode_writes_a_png_beside_its_input(files: Path) -> None:
    assert ctc("decode", "whole.ctc").code == 0
    with Image.open("whole.png") as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (120, 88))


def test_default_names_replace_only_the_last_suffix(files: Path) -> None:
    shutil.copy("plain.ctc", "a.b.c")
    shutil.copy("plain.ctc", "bare")
    assert ctc("truncate", "a.b.c", "bare", "--bytes", 50, "-o", "out/").code == 0
    assert names(files / "out") == ["a.b.ctc", "bare.ctc"]


def test_output_file_has_the_name_asked_for(files: Path, photo_ctc: bytes) -> None:
    assert ctc("encode", "photo.png", "-o", "any name.bin").code == 0
    assert (files / "any name.bin").read_bytes() == photo_ctc
    assert not (files / "photo.ctc").exists()


def test_output_folder_takes_several_inputs(files: Path, make_photo: MakePhoto, photo_ctc: bytes) -> None:
    make_photo(40, 30).save("small.png")
    result = ctc("encode", "photo.png", "small.png", "-o", "new/folder/")
    assert result.code == 0, result
    assert names(files / "new/folder") == ["photo.ctc", "small.ctc"]
    assert (files / "new/folder/photo.ctc").read_bytes() == photo_ctc


def test_existing_folder_needs_no_slash(files: Path) -> None:
    (files / "out").mkdir()
    assert ctc("truncate", "plain.ctc", "--bytes", 50, "-o", "out").code == 0
    assert names(files / "out") == ["plain.ctc"]


def test_streams_give_the_same_bytes_as_files(files: Path, photo_ctc: bytes) -> None:
    encoded = run("encode", "-", "-o", "-", stdin=(files / "photo.png").read_bytes())
    assert encoded.code == 0, encoded.err
    assert encoded.out == photo_ctc
    decoded = run("decode", "-", "-o", "-", stdin=encoded.out)
    assert decoded.code == 0, decoded.err
    assert ctc("decode", "whole.ctc").code == 0
    assert decoded.out == (files / "whole.png").read_bytes()


def test_standard_input_goes_to_standard_output_by_default() -> None:
    assert run("truncate", "-", "--bytes", 99, stdin=PLAIN).out == PLAIN[:99]


def test_input_may_be_a_device(files: Path) -> None:
    assert run("truncate", "/dev/stdin", "--bytes", 99, "-o", "-", stdin=PLAIN).out == PLAIN[:99]


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no /dev/stdout here")
def test_dev_stdout_is_standard_output(files: Path) -> None:
    result = run("truncate", "plain.ctc", "--bytes", 99, "-o", "/dev/stdout")
    assert result.code == 0, result.err
    assert result.out == PLAIN[:99]


def test_output_may_be_a_named_pipe(files: Path) -> None:
    os.mkfifo("pipe")
    process = spawn("truncate", "plain.ctc", "--bytes", 99, "-o", "pipe")
    assert Path("pipe").read_bytes() == PLAIN[:99]
    assert process.communicate(timeout=60)[0] == b""
    assert process.returncode == 0
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)


def test_data_is_not_written_to_a_terminal(files: Path) -> None:
    master, slave = pty.openpty()
    try:
        result = run("truncate", "plain.ctc", "--bytes", 99, "-o", "-", stdout=slave)
    finally:
        os.close(slave)
        os.close(master)
    assert_refused(result, "terminal")


def test_output_through_a_link_keeps_the_link(files: Path) -> None:
    (files / "link.ctc").symlink_to("plain.ctc")
    assert ctc("truncate", "link.ctc", "--bytes", 99, "-o", "link.ctc", "-f").code == 0
    assert (files / "link.ctc").is_symlink()
    assert (files / "plain.ctc").read_bytes() == PLAIN[:99]


@pytest.mark.parametrize("name", ["é" * 125 + ".ctc", "n" * 251 + ".ctc"])
def test_names_as_long_as_the_file_system_takes_are_written(files: Path, name: str) -> None:
    assert ctc("truncate", "plain.ctc", "--bytes", 99, "-o", name).code == 0
    assert (files / name).read_bytes() == PLAIN[:99]


# --- wrong usage ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("", ["Missing command"]),
        ("frobnicate", ["No such command", "frobnicate"]),
        ("encode", ["Missing argument"]),
        ("encode --no-such-option photo.png", ["--no-such-option"]),
        ("encode photo.png -q 90 --bpp 1", ["--quality", "--bpp"]),
        ("encode photo.png -q 90 --bytes 100", ["--quality", "--bytes"]),
        ("encode photo.png --quality 90 --psnr 30", ["--quality", "--psnr"]),
        ("encode photo.png -q 0", ["--quality", "1<=x<=100"]),
        ("encode photo.png -q 101", ["--quality", "1<=x<=100"]),
        ("encode photo.png -q nan", ["--quality", "'nan'"]),
        ("encode photo.png -q high", ["--quality", "'high'"]),
        ("encode photo.png -e 0", ["--effort", "1<=x<=9"]),
        ("encode photo.png -e 10", ["--effort", "1<=x<=9"]),
        ("decode whole.ctc -q", ["-q"]),
        ("encode photo.png --bpp 1 --bytes 100", ["--bpp", "--bytes"]),
        ("encode photo.png --bpp 1 --psnr 30", ["--bpp", "--psnr"]),
        ("encode photo.png --bytes 1k --psnr 30", ["--bytes", "--psnr"]),
        ("decode whole.ctc --bpp 1 --bytes 100", ["--bpp", "--bytes"]),
        ("truncate plain.ctc -o x --bpp 1 --bytes 100", ["--bpp", "--bytes"]),
        ("truncate plain.ctc -o x", ["--bpp", "--bytes"]),
        ("truncate plain.ctc --bpp 1", ["-o"]),
        ("truncate plain.ctc -o x --bpp 0", ["--bpp"]),
        ("truncate plain.ctc -o x --bpp -1", ["--bpp"]),
        ("truncate plain.ctc -o x --bpp nan", ["--bpp"]),
        ("encode photo.png -o x --bpp nan", ["--bpp"]),
        ("encode photo.png -o x --psnr nan", ["--psnr"]),
        ("encode photo.png -o x --psnr 0", ["--psnr"]),
        ("truncate plain.ctc -o x --bytes 0", ["--bytes"]),
        ("truncate plain.ctc -o x --bytes -5", ["--bytes"]),
        ("truncate plain.ctc -o x --bytes nan", ["--bytes"]),
        ("truncate plain.ctc -o x --bytes inf", ["--bytes"]),
        ("truncate plain.ctc -o x --bytes 10q", ["--bytes", "10q"]),
        ("truncate plain.ctc -o x --bytes k", ["--bytes"]),
        ("decode whole.ctc -o x.unheard", ["unheard"]),
        ("decode whole.ctc -o x", ["x"]),
        ("decode whole.ctc -o - --format unheard", ["unheard"]),
        ("decode whole.ctc --format unheard", ["unheard"]),
        ("decode whole.ctc --format a/b", ["a/b"]),
        ("encode photo.png plain.ctc -o x", ["several inputs"]),
        ("encode photo.png plain.ctc -o -", ["several inputs"]),
        ("truncate plain.ctc plain.ctc -o out/ --bytes 99", ["plain.ctc"]),
        ("encode - -", ["standard input"]),
        ("encode - -o out/", ["standard input"]),
        ("truncate plain.ctc --bytes 99 -o ", ["-o"]),
        ("encode photo.png -o x --device cpu", ["--device"]),
        ("encode photo.png -o x --threads 0", ["--threads"]),
    ],
)
def test_wrong_usage_exits_2_and_writes_nothing(files: Path, args: str, words: list[str]) -> None:
    before = names(files)
    assert_misused(ctc(*(args.split(" ") if args else [])), *words)
    assert names(files) == before


def test_wrong_usage_exits_2_from_the_real_command(files: Path) -> None:
    assert_misused(run("frobnicate"), "frobnicate")


def test_version_is_told() -> None:
    result = run("--version")
    assert (result.code, result.err) == (0, "")
    assert ctc_codec.__version__ in result.out.decode()


@pytest.mark.parametrize("command", ["encode", "decode", "truncate", "info", "train"])
def test_help_of_every_command(command: str) -> None:
    result = ctc(command, "-h")
    assert result.code == 0
    assert result.out.startswith(f"Usage: ctc {command}".encode())


# --- rates ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1000", 1000),
        ("1k", 1000),
        ("1K", 1000),
        ("1.5k", 1500),
        ("0.002M", 2000),
        ("1Ki", 1024),
        ("2ki", 2048),
        ("1M", len(PLAIN)),
        ("1Mi", len(PLAIN)),
    ],
)
def test_byte_counts_take_suffixes(files: Path, text: str, count: int) -> None:
    assert ctc("truncate", "plain.ctc", "--bytes", text, "-o", "-").out == PLAIN[:count]


@pytest.mark.parametrize("count", [PLAIN_HEADER, PLAIN_HEADER + 1, 4110, 4111, 4112, 9999])
def test_truncation_by_bytes_is_head(files: Path, count: int) -> None:
    assert ctc("truncate", "plain.ctc", "--bytes", count, "-o", "cut.ctc").code == 0
    assert (files / "cut.ctc").read_bytes() == PLAIN[:count]


def test_truncation_by_bpp_stays_within_its_budget(files: Path) -> None:
    for bpp in ("0.06", "0.5", "1", "2.7"):
        small = ctc("truncate", "plain.ctc", "--bpp", bpp, "-o", "-").out
        assert small == PLAIN[: int(float(bpp) * 64 * 48 / 8)]


@pytest.fixture
def measured(photo_png: Path, weights: str | None) -> Callable[[bytes], float]:
    """PSNR of a stream of photo.png."""
    original = pixels(photo_png.read_bytes())
    return lambda data: psnr(original, np.asarray(ctc_codec.decode(data, weights=weights)))


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


@pytest.mark.parametrize("target", [24, 32, 40.3, 47])
def test_encoding_to_a_psnr_ends_where_it_is_reached(
    files: Path, measured: Callable[[bytes], float], target: float
) -> None:
    small = ctc("encode", "photo.png", "--psnr", target, "-o", "-").out
    # So small an image has few steps: with the low band of the next plane it gains a decibel at once.
    assert target <= measured(small) < target + (0.5 if target > 25 else 1.2)
    assert ctc_codec.info(small).complete


def test_quality_is_a_psnr_and_85_by_default(
    files: Path, photo_ctc: bytes, measured: Callable[[bytes], float]
) -> None:
    sizes = []
    for quality, db in ((1, 23), (40, 30.8), (84.5, 39.8), (85, 40), (90, 42), (97.5, 48)):
        data = ctc("encode", "photo.png", "-q", quality, "-o", "-").out
        assert db <= measured(data) < db + 0.5
        assert (data == photo_ctc) == (quality == 85)
        sizes.append(len(data))
    assert sizes == sorted(set(sizes))


def test_quality_100_is_all_planes(files: Path, measured: Callable[[bytes], float]) -> None:
    assert ctc("encode", "photo.png", "-q", 100, "-o", "all.ctc").code == 0
    facts = json.loads(ctc("info", "--json", "all.ctc").out)
    assert facts["planes_held"] == facts["planes"] == 7
    assert measured((files / "all.ctc").read_bytes()) == pytest.approx(50, abs=0.5)


def test_effort_takes_slices_and_saves_bytes(files: Path) -> None:
    Image.fromarray(snapshot(400, 300)).save("a.png")
    low, high = (ctc("encode", "a.png", *effort, "-o", "-").out for effort in (("-e", 1), ("--effort", 9)))
    assert len(high) < 0.95 * len(low)
    assert Header.parse(high)[0].slices > 2 * Header.parse(low)[0].slices


def test_trits_can_be_coded_without_context(
    files: Path, make_photo: MakePhoto, weights: str | None, measured: Callable[[bytes], float]
) -> None:
    data = ctc("encode", "photo.png", "--no-context", "-o", "-").out
    assert data == ctc_codec.encode(make_photo(), context=False, weights=weights)
    assert measured(data) >= 40


def test_threads_are_those_of_the_networks_and_change_no_byte(
    files: Path, photo_ctc: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, asked = ctc_codec.load_model, []

    def watched(path: str | None, threads: int | None) -> ctc_codec.CodecModel:
        asked.append(threads)
        return load(path, threads)

    monkeypatch.setattr("ctc_codec.codec.model.load_model", watched)
    assert ctc("encode", "photo.png", "--threads", 3).code == 0
    assert ctc("info", "photo.ctc").code == 0
    assert (files / "photo.ctc").read_bytes() == photo_ctc
    assert asked == [3, None]


def test_a_psnr_out_of_reach_is_refused(files: Path) -> None:
    assert_refused(ctc("encode", "photo.png", "--psnr", 200, "-o", "x.ctc"), "photo.png", "200 dB")
    assert not (files / "x.ctc").exists()


@pytest.mark.parametrize("command", ["encode", "truncate"])
def test_a_target_below_the_header_is_refused(files: Path, command: str) -> None:
    source = "photo.png" if command == "encode" else "whole.ctc"
    assert_refused(ctc(command, source, "--bytes", 5, "-o", "x.ctc"), source, "header")
    assert not (files / "x.ctc").exists()


@pytest.mark.parametrize("target", [("--bpp", "0.4"), ("--bytes", "300")])
def test_decoding_to_a_rate_is_decoding_the_truncated_file(files: Path, target: tuple[str, str]) -> None:
    assert ctc("decode", "whole.ctc", *target, "-o", "a.png").code == 0
    assert ctc("truncate", "whole.ctc", *target, "-o", "cut.ctc").code == 0
    assert ctc("decode", "cut.ctc", "-o", "b.png").code == 0
    assert (files / "a.png").read_bytes() == (files / "b.png").read_bytes()


def test_prefixes_from_the_header_on_decode(files: Path, photo_ctc: bytes) -> None:
    start = Header.parse(photo_ctc)[1]
    for cut in (start, start + 1, start + 5, len(photo_ctc) - 1):
        result = ctc("decode", "-", "--quiet", stdin=photo_ctc[:cut])
        assert (result.code, result.err) == (0, ""), cut
        assert pixels(result.out).shape == (88, 120, 3)


# --- formats, modes and sizes -----------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kind"), [("a.jpg", "JPEG"), ("a.JPEG", "JPEG"), ("a.bmp", "BMP")])
def test_the_suffix_names_the_image_format(files: Path, name: str, kind: str) -> None:
    assert ctc("decode", "whole.ctc", "-o", name).code == 0
    with Image.open(name) as image:
        assert (image.format, image.size) == (kind, (120, 88))


@pytest.mark.parametrize(("name", "kind"), [("png", "PNG"), ("jpg", "JPEG"), ("PPM", "PPM")])
def test_the_format_of_standard_output_can_be_chosen(files: Path, name: str, kind: str) -> None:
    result = ctc("decode", "whole.ctc", "-o", "-", "--format", name)
    assert Image.open(BytesIO(result.out)).format == kind


def test_the_format_names_the_default_suffix(files: Path) -> None:
    assert ctc("decode", "whole.ctc", "--format", "bmp").code == 0
    with Image.open("whole.bmp") as image:
        assert image.format == "BMP"


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_images_decode_to_grey(files: Path, make_photo: MakePhoto, mode: str) -> None:
    make_photo(50, 34).convert(mode).save("grey.png")
    assert ctc("encode", "grey.png").code == 0
    assert ctc("decode", "grey.ctc", "-o", "back.png").code == 0
    with Image.open("back.png") as image:
        assert (image.mode, image.size) == ("L", (50, 34))


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (97, 2), (17, 33), (65, 63)])
def test_odd_sizes_come_back_as_they_were(files: Path, make_photo: MakePhoto, size: tuple[int, int]) -> None:
    make_photo(*size).save("odd.png")
    assert ctc("encode", "odd.png").code == 0
    assert ctc("decode", "odd.ctc", "-o", "back.png").code == 0
    with Image.open("back.png") as image:
        assert (image.mode, image.size) == ("RGB", size)


def test_changes_on_the_way_in_are_told(files: Path, make_photo: MakePhoto) -> None:
    wide = np.asarray(make_photo(40, 30).convert("L")).astype(np.uint16) * 257
    Image.fromarray(wide).save("wide.png")
    result = ctc("encode", "wide.png")
    assert result.code == 0
    assert result.lines[0] == "ctc: wide.png: note: 16-bit samples are reduced to 8 bits"
    assert ctc("encode", "wide.png", "-f", "--quiet") == Result(0, b"", "")


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_an_image_with_broken_exif_is_still_an_image(files: Path, make_photo: MakePhoto, kind: str) -> None:
    out = BytesIO()
    make_photo(40, 30).save(out, kind)
    good = len(out.getvalue())
    for exif in (b"Exif\0\0XX*\0\x08\0\0\0", b"Exif\0\0II*\0\x08\0\0\0\x02\0\x12\x01\x02\0\xff\xff\xff\xff"):
        out = BytesIO()
        make_photo(40, 30).save(out, kind, exif=exif)
        assert len(out.getvalue()) > good
        result = ctc("encode", "-", "--quiet", stdin=out.getvalue())
        assert (result.code, result.err) == (0, "")


def test_damaged_images_are_never_an_internal_error(make_photo: MakePhoto) -> None:
    rng = random.Random(1)
    messages: list[str] = []
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a picture"
    kinds = ["PNG", "JPEG", "TIFF", "GIF", *(k for k in ("WEBP", "AVIF") if features.check(k.lower()))]
    for kind in kinds:
        out = BytesIO()
        make_photo(24, 16).save(out, kind, **({} if kind == "GIF" else {"exif": exif}))
        for _ in range(250):
            data = bytearray(out.getvalue())
            for _ in range(rng.choice((1, 1, 3))):
                data[rng.randrange(len(data))] = rng.choice((0, 255, rng.randrange(256)))
            if rng.random() < 0.2:
                del data[rng.randrange(len(data)) :]
            try:
                source = source_image(open_image(bytes(data), 10_000))
                assert source.pixels.dtype == np.uint8
            except CtcError as error:
                messages.append(str(error))
            except Exception as error:
                raise AssertionError(f"{kind}: {type(error).__name__}: {error}") from error
    assert len(messages) > 100
    assert all(message and "\n" not in message for message in messages)


# --- transparency, metadata, quality, parts ----------------------------------------------------------


@pytest.fixture
def clear(files: Path, make_photo: MakePhoto) -> Path:
    """``files`` with clear.png: transparent on the left, and EXIF."""
    image = make_photo(64, 48)
    alpha = np.full((48, 64), 255, np.uint8)
    alpha[:, :32] = 0
    image.putalpha(Image.fromarray(alpha))
    exif = Image.Exif()
    exif[0x010E] = "a picture"
    image.save("clear.png", exif=exif)
    return files


def test_transparency_is_kept(clear: Path) -> None:
    assert ctc("encode", "clear.png").code == 0
    assert ctc("decode", "clear.ctc", "-o", "back.png").code == 0
    back = pixels(Path("back.png").read_bytes())
    assert back.shape == (48, 64, 4)
    assert (back[..., 3] == pixels(Path("clear.png").read_bytes())[..., 3]).all()
    facts = json.loads(ctc("info", "--json", "clear.ctc").out)
    assert facts["mode"] == "RGBA"
    assert "64x48 RGBA, complete" in ctc("info", "clear.ctc").out.decode()


def test_transparency_is_flattened_onto_a_colour(clear: Path) -> None:
    assert ctc("encode", "clear.png", "--background", "#00ff00").code == 0
    assert ctc("decode", "clear.ctc", "-o", "back.png").code == 0
    back = pixels(Path("back.png").read_bytes())
    assert back.shape == (48, 64, 3)
    assert np.abs(back[:, :16].mean(axis=(0, 1)) - (0, 255, 0)).max() < 40
    assert json.loads(ctc("info", "--json", "clear.ctc").out)["mode"] == "RGB"


def test_a_format_without_transparency_gets_a_background(clear: Path) -> None:
    assert ctc("encode", "clear.png").code == 0
    result = ctc("decode", "clear.ctc", "-o", "white.jpg")
    assert result.code == 0
    assert result.lines[0].startswith("ctc: clear.ctc: note: JPEG does not hold this transparency")
    assert pixels(Path("white.jpg").read_bytes())[:, :24].min() > 240
    assert ctc("decode", "clear.ctc", "-o", "quiet.jpg", "--quiet") == Result(0, b"", "")
    result = ctc("decode", "clear.ctc", "-o", "blue.jpg", "--background", "blue")
    assert len(result.lines) == 1
    assert np.abs(pixels(Path("blue.jpg").read_bytes())[:, :24].mean(axis=(0, 1)) - (0, 0, 255)).max() < 10


def test_metadata_is_kept_if_asked_for(clear: Path) -> None:
    for more, kept in (([], None), (["--keep-metadata"], "a picture")):
        assert ctc("encode", "clear.png", "-f", *more).code == 0
        assert ctc("decode", "clear.ctc", "-o", "back.png", "-f").code == 0
        with Image.open("back.png") as image:
            assert image.getexif().get(0x010E) == kept


def test_truncation_to_a_psnr_uses_the_quality_table(
    files: Path, photo_ctc: bytes, weights: str | None
) -> None:
    table = json.loads(ctc("info", "--json", "--header-only", "whole.ctc").out)["quality"]
    assert len(photo_ctc) - 2 <= table[-1][0] <= len(photo_ctc)
    assert [row[0] for row in table] == sorted(row[0] for row in table)
    target = (table[-4][1] + table[-3][1]) / 2
    assert ctc("truncate", "whole.ctc", "--psnr", target, "-o", "small.ctc").code == 0
    small = Path("small.ctc").read_bytes()
    assert photo_ctc.startswith(small)
    assert table[-4][0] < len(small) < table[-3][0]
    original = pixels((files / "photo.png").read_bytes())
    decoded = np.asarray(ctc_codec.decode(small, weights=weights))
    assert psnr(original, decoded) == pytest.approx(target, abs=3)  # so small an image is hard to foretell
    assert_refused(ctc("truncate", "whole.ctc", "--psnr", 90, "-o", "x.ctc"), "whole.ctc", "90 dB")


def test_info_lists_the_quality_table(files: Path) -> None:
    table = json.loads(ctc("info", "--json", "whole.ctc").out)["quality"]
    lines = ctc("info", "whole.ctc").out.decode().splitlines()
    at = lines.index("  quality, by the table in the file:")
    assert lines[at + 1].split() == ["bytes", "bpp", "dB"]
    rows = [tuple(map(float, line.split())) for line in lines[at + 2 :]]
    assert rows == [
        (nbytes, round(8 * nbytes / (120 * 88), 4), pytest.approx(db, abs=0.005)) for nbytes, db in table
    ]


def test_without_a_quality_table_there_is_none(files: Path, photo_ctc: bytes) -> None:
    assert ctc("encode", "photo.png", "--no-quality-table", "-o", "bare.ctc").code == 0
    assert (files / "bare.ctc").stat().st_size < len(photo_ctc)
    assert json.loads(ctc("info", "--json", "bare.ctc").out)["quality"] == []
    assert "quality" not in ctc("info", "bare.ctc").out.decode()
    result = ctc("truncate", "bare.ctc", "--psnr", 30, "-o", "x.ctc")
    assert_refused(result, "bare.ctc", "no quality table")


def test_thumbnails_have_an_eighth_of_each_side(files: Path, weights: str | None, photo_ctc: bytes) -> None:
    result = ctc("decode", "whole.ctc", "--thumbnail", "-o", "small.png")
    assert result.code == 0
    assert "15x11" in result.err
    expected = np.asarray(ctc_codec.thumbnail(photo_ctc, weights=weights))
    assert (pixels(Path("small.png").read_bytes()) == expected).all()


@pytest.mark.parametrize("source", ["whole.ctc", "-"])
def test_frames_are_those_of_the_prefixes(
    files: Path, photo_ctc: bytes, weights: str | None, source: str
) -> None:
    step = len(photo_ctc) // 3 - 1
    args = ("decode", source, "--progressive-every", step, "-o", "%%f-%02d.png")
    result = ctc(*args, stdin=photo_ctc)
    assert result.code == 0, result
    assert sorted(files.glob("%f*")) == [files / f"%f-{i:02}.png" for i in (1, 2, 3, 4)]
    for i, count in enumerate((step, 2 * step, 3 * step, len(photo_ctc)), 1):
        frame_pixels = pixels((files / f"%f-{i:02}.png").read_bytes())
        assert (frame_pixels == np.asarray(ctc_codec.decode(photo_ctc[:count], weights=weights))).all()
    assert_refused(ctc(*args, stdin=photo_ctc), "%f-01.png", "exists already")


def test_frames_appear_while_bytes_arrive(files: Path, photo_ctc: bytes) -> None:
    with spawn("decode", "-", "--progressive-every", 300, "-o", "f%d.png") as process:
        assert process.stdin is not None
        process.stdin.write(photo_ctc[:450])
        process.stdin.flush()
        end = time.monotonic() + 60
        while not (files / "f1.png").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        assert not (files / "f2.png").exists()
        process.stdin.close()
        assert process.wait(timeout=60) == 0
    assert (files / "f2.png").exists()
    assert not (files / "f3.png").exists()


def test_no_frame_comes_of_less_than_a_header_or_of_damage(files: Path, photo_ctc: bytes) -> None:
    args = ("decode", "-", "--progressive-every", 10, "-o", "f%d.png")
    assert_refused(ctc(*args, stdin=photo_ctc[:15]), "standard input", "cut inside the header")
    assert not (files / "f1.png").exists()
    start = Header.parse(photo_ctc)[1]
    assert ctc(*args, stdin=photo_ctc[: start + 15]).code == 0
    wanted = (start + 15 + 9) // 10 - (start - 1) // 10
    assert len(list(files.glob("f*.png"))) == wanted
    assert (files / f"f{wanted}.png").exists()
    damaged = flipped(photo_ctc, len(photo_ctc) - 5)
    step = ("--progressive-every", len(photo_ctc) // 2)
    result = ctc("decode", "-", *step, "-o", "d%d.png", stdin=damaged)
    assert_refused(result, "standard input", "damaged between bytes")
    result = ctc("decode", "-", *step, "-o", "d%d.png", "--accept-damage", "-f", stdin=damaged)
    assert (result.code, result.lines[0].startswith("ctc: standard input: warning: damaged")) == (0, True)


# --- existing files ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args",
    [
        ("encode", "photo.png", "-o", "old"),
        ("decode", "whole.ctc", "--format", "png", "-o", "old"),
        ("truncate", "plain.ctc", "--bytes", "99", "-o", "old"),
    ],
)
def test_existing_files_are_replaced_only_by_force(files: Path, args: tuple[str, ...]) -> None:
    (files / "old").write_bytes(b"precious")
    before = names(files)
    assert_refused(ctc(*args), "old", "exists already", "-f")
    assert (files / "old").read_bytes() == b"precious"
    assert ctc(*args, "-f").code == 0
    assert (files / "old").read_bytes() != b"precious"
    assert names(files) == before


def test_a_failure_by_force_leaves_the_old_file(files: Path) -> None:
    (files / "old.png").write_bytes(b"precious")
    (files / "bad.ctc").write_bytes(b"not a stream")
    assert_refused(ctc("decode", "bad.ctc", "-o", "old.png", "-f"), "bad.ctc")
    assert (files / "old.png").read_bytes() == b"precious"


def test_a_replaced_file_keeps_its_permissions(files: Path) -> None:
    (files / "old.ctc").write_bytes(b"private")
    (files / "old.ctc").chmod(0o600)
    assert ctc("truncate", "plain.ctc", "--bytes", 99, "-o", "old.ctc", "-f").code == 0
    assert stat.S_IMODE((files / "old.ctc").stat().st_mode) == 0o600


def test_a_new_file_has_the_usual_permissions(files: Path) -> None:
    old = os.umask(0o027)
    try:
        assert ctc("truncate", "plain.ctc", "--bytes", 99, "-o", "new.ctc").code == 0
    finally:
        os.umask(old)
    assert stat.S_IMODE((files / "new.ctc").stat().st_mode) == 0o640


# --- bad input --------------------------------------------------------------------------------------


def _cut_png(photo: bytes) -> bytes:
    return photo[: len(photo) // 2]


BAD_IMAGES: dict[str, tuple[Callable[[bytes], bytes] | None, str]] = {
    "missing file": (None, "No such file"),
    "empty file": (lambda photo: b"", "empty"),
    "text file": (lambda photo: b"Dear codec,\nI am no picture.\n", "not an image"),
    "cut PNG": (_cut_png, "damaged image"),
    "PNG signature alone": (lambda photo: photo[:8], "PNG"),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_bad_images_fail_in_one_line_and_leave_nothing(files: Path, case: str) -> None:
    make, word = BAD_IMAGES[case]
    if make is not None:
        (files / "bad.png").write_bytes(make((files / "photo.png").read_bytes()))
    before = names(files)
    assert_refused(ctc("encode", "bad.png"), "bad.png", word)
    assert names(files) == before


BAD_STREAMS: dict[str, tuple[Callable[[bytes], bytes] | None, str]] = {
    "missing file": (None, "No such file"),
    "empty file": (lambda whole: b"", "empty"),
    "a PNG": (lambda whole: b"\x89PNG\r\n\x1a\n" + bytes(50), "not a .ctc file"),
    "cut in the magic number": (lambda whole: whole[:3], "cut inside the header"),
    "cut inside the header": (lambda whole: whole[: Header.parse(whole)[1] - 1], "cut inside the header"),
    "a newer version": (lambda whole: with_version(whole, 5), "version 5"),
    "a retired version": (
        lambda whole: with_version(whole, 3),
        "format 3 is not read any more: encode the original again",
    ),
    "other weights": (lambda whole: with_header(whole, fingerprint=b"\xca\xfe\0\1"), "cafe0001"),
    "damaged header": (lambda whole: flipped(whole, 7), "damaged header"),
    "damaged payload": (lambda whole: flipped(whole, len(whole) // 2), "damaged between bytes"),
    "damaged last byte": (lambda whole: flipped(whole, len(whole) - 1), "damaged between bytes"),
    "bytes at the end": (lambda whole: whole + b"\n", "1 bytes follow"),
    "absurd dimensions": (lambda whole: with_header(whole, width=2**24 - 1, height=2**24 - 1), HUGE),
}


@pytest.mark.parametrize("case", BAD_STREAMS)
def test_bad_streams_fail_in_one_line_and_leave_nothing(files: Path, photo_ctc: bytes, case: str) -> None:
    make, word = BAD_STREAMS[case]
    if make is not None:
        (files / "bad.ctc").write_bytes(make(photo_ctc))
    before = names(files)
    assert_refused(ctc("decode", "bad.ctc"), "bad.ctc", word)
    assert_refused(ctc("decode", "bad.ctc", "--quiet"), "bad.ctc", word)
    assert names(files) == before


def test_a_stream_of_the_wrong_bytes_with_right_check_sums_is_handled(files: Path, photo_ctc: bytes) -> None:
    """Nobody but an attacker writes one: any image or a refusal will do, a crash will not."""
    header = Header.parse(photo_ctc)[0]
    for seed in range(6):
        payload = random.Random(seed).randbytes(500) if seed else b"\xff" * 500
        data = dataclasses.replace(header, code_bytes=500, extras_bytes=0).to_bytes() + frame(payload)
        result = ctc("decode", "-", "--quiet", stdin=data)
        if result.code == 0:
            assert pixels(result.out).shape == (88, 120, 3)
        else:
            assert_refused(result, "standard input", "damaged")
        described = ctc("info", "--json", "-", stdin=data)
        assert (described.code, described.err) == (result.code, result.err)
        assert json.loads(described.out)["state"] == ("damaged" if result.code else "complete")


def test_damage_can_be_accepted(files: Path, photo_ctc: bytes) -> None:
    (files / "bad.ctc").write_bytes(flipped(photo_ctc, len(photo_ctc) - 5))
    result = ctc("decode", "bad.ctc", "--accept-damage", "--quiet")
    assert result.code == 0
    assert len(result.lines) == 1
    assert "bad.ctc: warning: damaged between bytes" in result.err
    with Image.open("bad.png") as image:
        assert image.size == (120, 88)


def test_damage_is_no_reason_to_refuse_the_part_before_it(files: Path, photo_ctc: bytes) -> None:
    (files / "bad.ctc").write_bytes(flipped(photo_ctc, len(photo_ctc) - 5))
    assert ctc("decode", "bad.ctc", "--bytes", 300, "-o", "a.png").code == 0
    assert ctc("decode", "whole.ctc", "--bytes", 300, "-o", "b.png").code == 0
    assert (files / "a.png").read_bytes() == (files / "b.png").read_bytes()


@pytest.mark.parametrize("args", [("encode", "photo.png"), ("decode", "whole.ctc")])
def test_more_pixels_than_allowed_are_refused(files: Path, args: tuple[str, str]) -> None:
    before = names(files)
    refused = ctc(*args, "--max-pixels", 120 * 88 - 1, "-o", "x.png")
    assert_refused(refused, args[1], "120x88", str(120 * 88 - 1))
    assert names(files) == before
    assert ctc(*args, "--max-pixels", 120 * 88, "-o", "x.png").code == 0
    assert ctc(*args, "--max-pixels", 0, "-o", "x.png", "-f").code == 0


def _foreign_weights(path: Path) -> None:
    save_file({"conv.weight": np.zeros((2, 2), np.float32)}, path)


def _text_weights(path: Path) -> None:
    path.write_text("weights\n")


def _no_weights(path: Path) -> None:
    assert not path.exists()


@pytest.mark.parametrize("make", [_foreign_weights, _text_weights, _no_weights])
@pytest.mark.parametrize("args", [("encode", "photo.png"), ("decode", "whole.ctc")])
def test_wrong_weights_fail_once_before_any_input(
    files: Path, make: Callable[[Path], None], args: tuple[str, str]
) -> None:
    make(files / "w.safetensors")
    before = names(files)
    result = ctc(*args, "missing", "--weights", "w.safetensors", "-o", ".")
    assert_refused(result, "w.safetensors")
    assert names(files) == before


def test_weights_of_a_variable_are_used(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTC_WEIGHTS", str(files / "nowhere"))
    assert_refused(ctc("decode", "whole.ctc"), "nowhere")


# --- batches ----------------------------------------------------------------------------------------


def test_a_batch_goes_on_after_bad_images(files: Path, make_photo: MakePhoto, photo_ctc: bytes) -> None:
    (files / "bad.png").write_bytes(b"no image")
    make_photo(40, 30).save("last.png")
    result = ctc("encode", "--quiet", "photo.png", "bad.png", "missing.png", "last.png", "-o", "out/")
    assert_refused(result, lines=3)
    assert result.lines[0].startswith("ctc: bad.png: ")
    assert result.lines[1].startswith("ctc: missing.png: ")
    assert result.lines[2] == "ctc: 2 of 4 inputs failed: bad.png, missing.png"
    assert names(files / "out") == ["last.ctc", "photo.ctc"]
    assert (files / "out/photo.ctc").read_bytes() == photo_ctc


def test_a_batch_goes_on_after_bad_streams(files: Path, photo_ctc: bytes) -> None:
    (files / "bad.ctc").write_bytes(flipped(photo_ctc, 100))
    (files / "last.ctc").write_bytes(photo_ctc[:200])
    result = ctc("decode", "--quiet", "bad.ctc", "whole.ctc", "last.ctc", "-o", "out/")
    assert_refused(result, "1 of 3 inputs failed: bad.ctc", lines=2)
    assert names(files / "out") == ["last.png", "whole.png"]


def test_a_batch_goes_on_after_an_output_that_exists(files: Path) -> None:
    shutil.copy("plain.ctc", "second.ctc")
    (files / "out").mkdir()
    (files / "out/plain.ctc").write_bytes(b"precious")
    result = ctc("truncate", "--quiet", "plain.ctc", "second.ctc", "--bytes", 99, "-o", "out")
    assert_refused(result, "1 of 2 inputs failed: plain.ctc", lines=2)
    assert (files / "out/plain.ctc").read_bytes() == b"precious"
    assert (files / "out/second.ctc").read_bytes() == PLAIN[:99]


def test_quiet_says_nothing_on_success(files: Path) -> None:
    for args in (
        ("encode", "photo.png"),
        ("decode", "whole.ctc"),
        ("truncate", "plain.ctc", "--bytes", 99, "-o", "x"),
    ):
        assert ctc(*args, "--quiet") == Result(0, b"", "")


# --- outputs that cannot be written -----------------------------------------------------------------

TRUNCATE = ("truncate", "plain.ctc", "--bytes", "9000")


def test_a_missing_folder_is_not_made_for_a_file(files: Path) -> None:
    before = names(files)
    assert_refused(ctc(*TRUNCATE, "-o", "nowhere/x.ctc"), "nowhere/x.ctc", "no such directory")
    assert names(files) == before


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write to")
@pytest.mark.parametrize("folder", ["/proc", "/proc/self"])
def test_an_unwritable_folder_is_refused(files: Path, folder: str) -> None:
    assert_refused(ctc(*TRUNCATE, "-o", f"{folder}/x.ctc"), f"{folder}/x.ctc")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_read_only_folder_is_refused(files: Path) -> None:
    (files / "out").mkdir(mode=0o555)
    assert_refused(ctc(*TRUNCATE, "-o", "out/x.ctc"), "out/x.ctc", "ermission")


def test_a_folder_of_the_output_name_is_refused(files: Path) -> None:
    (files / "photo.ctc").mkdir()
    assert_refused(ctc("encode", "photo.png"), "photo.ctc", "is a directory")
    assert_refused(ctc("encode", "photo.png", "-f"), "photo.ctc", "is a directory")
    assert names(files / "photo.ctc") == []


def test_a_file_where_a_folder_is_asked_for_is_refused(files: Path) -> None:
    before = (files / "photo.png").read_bytes()
    assert ctc(*TRUNCATE, "-o", "photo.png/").code in (1, 2)
    assert (files / "photo.png").read_bytes() == before


def test_a_name_too_long_is_refused(files: Path) -> None:
    before = names(files)
    result = run(*TRUNCATE, "-o", "n" * 256)
    assert result.code in (1, 2)
    assert len(result.lines) == 1, result.err
    assert "too long" in result.err
    assert names(files) == before


needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


@needs_dev_full
@pytest.mark.parametrize("force", [[], ["-f"]])
def test_a_full_device_is_refused_and_stays_a_device(files: Path, force: list[str]) -> None:
    assert_refused(ctc(*TRUNCATE, "-o", "/dev/full", *force), "/dev/full", "No space left")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


@needs_dev_full
@pytest.mark.parametrize(
    "args",
    [
        (*TRUNCATE, "-o", "-"),
        ("truncate", "plain.ctc", "--bytes", "20", "-o", "-"),
        ("decode", "whole.ctc", "-o", "-"),
    ],
)
def test_data_for_a_full_standard_output_is_lost_with_exit_1(files: Path, args: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        assert_refused(run(*args, stdout=full), "standard output", "No space left")


@needs_dev_full
@pytest.mark.parametrize("args", [("info", "--header-only", "plain.ctc"), ("--version",), ("info", "-h")])
def test_words_for_a_full_standard_output_are_lost_with_exit_1(files: Path, args: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        assert_refused(run(*args, stdout=full), "No space left")


@needs_dev_full
def test_words_that_cannot_be_said_do_not_spoil_the_work(files: Path) -> None:
    with open("/dev/full", "wb") as full:
        result = run(*TRUNCATE, "-o", "x.ctc", stderr=full)
    assert (files / "x.ctc").read_bytes() == PLAIN[:9000]
    assert result.code == 0


def _run_into_closed_pipe(*args: object) -> Result:
    with spawn(*args) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read().decode()
        return Result(process.wait(timeout=120), b"", err)


@pytest.mark.parametrize("args", [("decode", "whole.ctc", "-o", "-"), (*TRUNCATE, "-o", "-")])
def test_a_reader_that_closes_at_once_ends_the_command_quietly(files: Path, args: tuple[str, ...]) -> None:
    assert_refused(_run_into_closed_pipe(*args), "pipe")


@pytest.mark.parametrize(
    "args",
    [("info", "--header-only", "plain.ctc", "plain.ctc"), ("info", "--header-only", "--json", "plain.ctc")],
)
def test_a_reader_that_does_not_want_to_know_is_no_internal_error(files: Path, args: tuple[str, ...]) -> None:
    result = _run_into_closed_pipe(*args)
    assert result.code in (1, 128 + signal.SIGPIPE, -signal.SIGPIPE)
    assert "internal error" not in result.err
    assert "Traceback" not in result.err
    assert "Exception ignored" not in result.err
    assert len(result.lines) <= 1


def test_a_reader_that_takes_one_byte_gets_it(files: Path) -> None:
    big = Header(64, 48, b"\1\2\3\4", 1 << 20)
    (files / "big.ctc").write_bytes(big.to_bytes() + frame(bytes(1 << 20)))  # more than a pipe holds
    result = run_shell('"$@" | head -c 1', "truncate", "big.ctc", "--bytes", "1M", "-o", "-")
    assert result.out == PLAIN[:1]
    assert len(result.lines) <= 1
    assert "Traceback" not in result.err
    assert "Exception ignored" not in result.err


def test_closed_standard_streams_are_no_internal_error(files: Path) -> None:
    assert_refused(run_shell('"$@" <&-', "truncate", "-", "--bytes", "99", "-o", "x.ctc"), "standard input")
    assert_refused(run_shell('"$@" >&-', *TRUNCATE, "-o", "-"), "standard output")
    assert not (files / "x.ctc").exists()


# --- info -------------------------------------------------------------------------------------------


def test_info_of_a_complete_file(files: Path, photo_ctc: bytes) -> None:
    result = ctc("info", "--json", "whole.ctc")
    assert (result.code, result.err) == (0, "")
    facts = json.loads(result.out)
    assert facts["file"] == "whole.ctc"
    assert facts["bytes"] == facts["complete_bytes"] == len(photo_ctc)
    assert (facts["width"], facts["height"], facts["mode"]) == (120, 88, "RGB")
    assert facts["bpp"] == pytest.approx(8 * len(photo_ctc) / (120 * 88), abs=1e-4)
    assert (facts["state"], facts["damage"]) == ("complete", None)
    assert facts["fingerprint"] == Header.parse(photo_ctc)[0].fingerprint.hex()
    header = Header.parse(photo_ctc)[0]
    assert facts["planes"] - 2 < facts["planes_held"] < facts["planes"] == header.planes  # of quality 85
    assert facts["slices_held"] == facts["slices"] == header.slices > 0
    assert facts["low_band"] is True


def test_info_of_a_cut_file(files: Path, photo_ctc: bytes) -> None:
    count = len(photo_ctc) * 3 // 4
    facts = json.loads(ctc("info", "--json", "-", stdin=photo_ctc[:count]).out)
    assert (facts["bytes"], facts["complete_bytes"]) == (count, len(photo_ctc))
    assert (facts["state"], facts["damage"]) == ("cut", None)
    assert 0 < facts["planes_held"] < facts["planes"]
    assert 0 < facts["slices_held"] < facts["slices"]


def test_info_of_a_header_alone(files: Path, photo_ctc: bytes) -> None:
    facts = json.loads(ctc("info", "--json", "-", stdin=photo_ctc[: Header.parse(photo_ctc)[1]]).out)
    assert (facts["state"], facts["planes_held"], facts["slices_held"]) == ("cut", 0, 0)
    assert facts["low_band"] is False


@pytest.mark.parametrize("more", [[], ["--header-only"]])
def test_info_of_a_damaged_file_tells_what_it_can_and_exits_1(
    files: Path, photo_ctc: bytes, more: list[str]
) -> None:
    (files / "bad.ctc").write_bytes(flipped(photo_ctc, len(photo_ctc) - 5))
    result = ctc("info", "--json", "bad.ctc", *more)
    assert_refused(result, "bad.ctc", "damaged between bytes")
    facts = json.loads(result.out)
    assert facts["state"] == "damaged"
    assert facts["damage"] in result.err
    assert ("planes_held" in facts) == (not more)


def test_info_without_json_is_for_people(files: Path, photo_ctc: bytes) -> None:
    text = ctc("info", "whole.ctc").out.decode()
    for word in ("120x88 RGB, complete", str(len(photo_ctc)), "of 7 trit planes", "slices, low band"):
        assert word in text
    start = Header.parse(photo_ctc)[1]
    text = ctc("info", "-", stdin=photo_ctc[:start]).out.decode()
    for word in ("120x88 RGB, cut", "  0 of 7 trit planes, 0 of ", "slices, no low band"):
        assert word in text


def test_info_of_the_header_needs_no_weights(files: Path) -> None:
    facts = json.loads(ctc("info", "--json", "--header-only", "plain.ctc", "--weights", "nowhere").out)
    assert facts["state"] == "complete"
    assert facts["planes"] == facts["slices"] == 0
    assert not {"planes_held", "planes_unknown"} & facts.keys()


def test_info_of_a_file_made_with_other_weights_says_so(files: Path) -> None:
    facts = json.loads(ctc("info", "--json", "plain.ctc").out)
    assert "01020304" in facts["planes_unknown"]


def test_info_with_weights_that_do_not_exist_fails(files: Path) -> None:
    result = ctc("info", "whole.ctc", "--weights", "nowhere")
    assert_refused(result, "nowhere")


def test_info_does_not_allocate_what_the_header_claims(files: Path, photo_ctc: bytes) -> None:
    data = with_header(photo_ctc, width=2**24 - 1, height=2**24 - 1)
    facts = json.loads(ctc("info", "--json", "-", stdin=data).out)
    assert HUGE in facts["planes_unknown"]


def test_info_writes_one_object_per_file(files: Path) -> None:
    result = ctc("info", "--json", "--header-only", "plain.ctc", "photo.png", "whole.ctc")
    assert_refused(result, "ctc: photo.png: not a .ctc file", lines=2)
    objects = [json.loads(line) for line in result.out.splitlines()]
    assert [facts["file"] for facts in objects] == ["plain.ctc", "photo.png", "whole.ctc"]
    assert ["error" in facts for facts in objects] == [False, True, False]


# --- processes --------------------------------------------------------------------------------------


def _loaded_by(*args: str) -> set[str]:
    """Which of the packages that take their time a command loads."""
    script = (
        "import sys\nfrom ctc_codec.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'onnxruntime', 'numpy', 'constriction', 'PIL', 'safetensors'}\n"
        "print(*heavy & set(sys.modules), sep='\\n', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script, *args], capture_output=True, check=True, timeout=60)
    return {line for line in done.stderr.decode().splitlines() if line and "->" not in line}


@pytest.mark.parametrize(
    "args",
    [
        (*TRUNCATE, "-o", "x.ctc"),
        ("truncate", "whole.ctc", "--psnr", "30", "-o", "x.ctc"),
        ("info", "--header-only", "plain.ctc"),
        ("check", "--quiet", "whole.ctc"),
        ("--version",),
        ("--help",),
        ("encode", "--help"),
        ("train", "--help"),
        ("evaluate", "--help"),
    ],
)
def test_light_commands_load_nothing_heavy(files: Path, args: tuple[str, ...]) -> None:
    assert _loaded_by(*args) == set()


@pytest.mark.parametrize(
    "args",
    [
        ("encode", "photo.png", "--json", "--keep-metadata"),
        ("decode", "whole.ctc"),
        ("decode", "whole.ctc", "--thumbnail"),
        ("info", "whole.ctc"),
        ("check", "--quiet", "--decode", "whole.ctc"),
        ("preview", "--quiet", "--frames", "2", "whole.ctc"),
    ],
)
def test_nothing_but_training_loads_torch(files: Path, args: tuple[str, ...]) -> None:
    found = _loaded_by(*args)
    assert "onnxruntime" in found
    assert "torch" not in found


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_during_the_work_leaves_only_whole_files(
    files: Path, make_photo: MakePhoto, photo_ctc: bytes, number: signal.Signals, code: int
) -> None:
    make_photo(1600, 1200).save("big.png", compress_level=0)
    (files / "out").mkdir()
    process = spawn("encode", "photo.png", "big.png", "-o", "out")
    assert process.stderr is not None
    first = process.stderr.readline()
    assert b"photo.ctc" in first
    time.sleep(0.1)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == code
    assert b"Traceback" not in err
    assert names(files / "out") == ["photo.ctc"]
    assert (files / "out/photo.ctc").read_bytes() == photo_ctc


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_while_waiting_for_input_leaves_nothing(
    files: Path, number: signal.Signals, code: int
) -> None:
    before = names(files)
    process = spawn("truncate", "-", "--bytes", "99", "-o", "x.ctc")
    assert process.stdin is not None
    process.stdin.write(PLAIN + bytes(200_000))  # more than a pipe holds: it is being read
    process.stdin.flush()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert b"Traceback" not in err
    assert names(files) == before


@pytest.mark.parametrize("step", ["link", "replace"])
def test_an_interrupt_while_writing_leaves_nothing(
    files: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    (files / "old.ctc").write_bytes(b"precious")
    before = names(files)
    monkeypatch.setattr(f"ctc_codec.container.atomic.os.{step}", interrupt)
    target = ["new.ctc"] if step == "link" else ["old.ctc", "-f"]
    result = ctc(*TRUNCATE, "-o", *target)
    assert (result.code, result.lines[-1]) == (130, "ctc: interrupted")
    assert names(files) == before
    assert (files / "old.ctc").read_bytes() == b"precious"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_while_writing_waits_until_the_file_is_whole(
    files: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    link, before = os.link, names(files)

    def interrupted(source: str, target: str) -> None:
        os.kill(os.getpid(), number)
        link(source, target)
        os.kill(os.getpid(), number)

    monkeypatch.setattr("ctc_codec.container.atomic.os.link", interrupted)
    result = ctc(*TRUNCATE, "-o", "new.ctc")
    assert (result.code, result.lines) == (code, ["ctc: interrupted"])
    assert (files / "new.ctc").read_bytes() == PLAIN[:9000]
    assert names(files) == sorted([*before, "new.ctc"])


def test_a_file_that_appears_meanwhile_is_not_replaced(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def somebody_was_faster(source: str, target: str) -> None:
        Path(target).write_bytes(b"precious")
        link(source, target)

    monkeypatch.setattr("ctc_codec.container.atomic.os.link", somebody_was_faster)
    assert_refused(ctc(*TRUNCATE, "-o", "x.ctc"), "exists already")
    assert (files / "x.ctc").read_bytes() == b"precious"
    assert not [name for name in names(files) if name.endswith(".partial")]


def test_a_file_system_without_links_is_written_to(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    before = names(files)
    monkeypatch.setattr("ctc_codec.container.atomic.os.link", no_links)
    assert ctc(*TRUNCATE, "-o", "x.ctc").code == 0
    assert (files / "x.ctc").read_bytes() == PLAIN[:9000]
    assert names(files) == sorted([*before, "x.ctc"])
