"""The Pillow plugin, as programs that know nothing of .ctc use it."""

from __future__ import annotations

import copy
import io
import os
import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageSequence, PngImagePlugin, UnidentifiedImageError

import ctc_codec
import ctc_codec.pillow
from cases.build import cicp, save_png
from ctc_codec.container.blocks import BLOCK_DATA
from ctc_codec.pillow import CtcImageFile
from support.image_samples import DISPLAY_P3, rgb_profile
from support.streams import changed, with_header

MakePhoto = Callable[..., Image.Image]


@pytest.fixture(scope="module")
def expected(photo_ctc: bytes) -> np.ndarray:
    return np.asarray(ctc_codec.decode(photo_ctc))


@pytest.fixture(scope="module")
def noise_ctc() -> bytes:
    """A stream of more than one block: 160x96 pixels of noise."""
    noise = np.random.default_rng(1).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    data = ctc_codec.encode(Image.fromarray(noise))
    assert len(data) > BLOCK_DATA + 1000
    return data


@pytest.fixture
def photo_file(photo_ctc: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "photo.ctc"
    path.write_bytes(photo_ctc)
    return path


class OnlyRead:
    """A stream like a network response: no seek, no tell."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, count: int = -1) -> bytes:
        return self._file.read(count)


# Opening


def test_opens_as_other_formats_do(photo_file: Path, photo_ctc: bytes, expected: np.ndarray) -> None:
    with Image.open(photo_file) as image:
        assert (image.format, image.mode, image.size) == ("CTC", "RGB", (120, 88))
        assert image.get_format_mimetype() == "image/x-ctc"
        assert image.info == {
            "bytes_used": len(photo_ctc),
            "bpp": pytest.approx(8 * len(photo_ctc) / (120 * 88)),
            "complete": True,
        }
        assert np.array_equal(np.asarray(image), expected)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_knows_the_mode_before_it_is_loaded(make_photo: MakePhoto, mode: str) -> None:
    photo = make_photo(24, 16).convert(mode)
    if mode.endswith("A"):
        photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    data = ctc_codec.encode(photo)
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == mode
        assert image.tobytes() == ctc_codec.decode(data).tobytes()
        assert image.mode == mode
        assert image.getbands() == tuple(mode)
    with Image.open(io.BytesIO(data[:60])) as image:
        image.load()
        assert image.mode == mode


def test_opening_loads_no_model_and_works_after_all_other_formats(photo_file: Path) -> None:
    code = (
        "import sys; from PIL import Image; import ctc_codec.pillow\n"
        f"image = Image.open({str(photo_file)!r}); print(image.mode, image.size, image.info['complete'])\n"
        "assert not {'onnxruntime', 'numpy', 'constriction'} & sys.modules.keys()\n"
        "Image.init(); ctc_codec.register_pillow()\n"
        f"print(Image.open({str(photo_file)!r}).format, Image.registered_extensions()['.ctc'])\n"
        "print(Image.ID.count('CTC'))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "RGB (120, 88) True\nCTC CTC\n1\n", done.stderr


class Counting(io.BytesIO):
    """A file that counts what is read of it."""

    taken = 0

    def read(self, count: int | None = -1, /) -> bytes:
        data = super().read(count)
        self.taken += len(data)
        return data


def test_no_more_is_read_than_is_needed(photo_ctc: bytes, expected: np.ndarray) -> None:
    file = Counting(photo_ctc + bytes(1 << 20))
    with Image.open(file, formats=["CTC"]) as image:
        assert file.taken < 200
        assert image.info["complete"] is True
        assert np.array_equal(np.asarray(image), expected)
        assert len(photo_ctc) < file.taken < len(photo_ctc) + 200


def test_a_header_that_tells_of_more_than_there_is(photo_ctc: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.ctc"
    for count in (1 << 40, (1 << 63) - 1):
        path.write_bytes(with_header(photo_ctc, code_bytes=count)[:-2])
        with Image.open(path) as image:
            image.thumbnail((10, 10))
            assert image.info["complete"] is False
        with Image.open(path) as image:
            assert image.load() is not None
        with Image.open(path) as image:
            image.verify()


@pytest.mark.parametrize("share", [0.03, 0.3, 0.9])
def test_cut_file_opens_at_the_quality_it_holds(photo_ctc: bytes, share: float) -> None:
    cut = photo_ctc[: int(share * len(photo_ctc))]
    with Image.open(io.BytesIO(cut)) as image:
        assert image.info["complete"] is False
        assert image.info["bytes_used"] == len(cut)
        assert image.info["bpp"] == pytest.approx(8 * len(cut) / (120 * 88))
        image.verify()
    with Image.open(io.BytesIO(cut)) as image:
        assert np.array_equal(np.asarray(image), np.asarray(ctc_codec.decode(cut)))
        assert image.info["complete"] is False
        assert "damage" not in image.info


def test_cut_inside_the_header_is_not_identified(photo_ctc: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.ctc"
    for count in range(ctc_codec.info(photo_ctc).header_bytes):
        with pytest.raises(UnidentifiedImageError):
            Image.open(io.BytesIO(photo_ctc[:count]))
        path.write_bytes(photo_ctc[:count])
        with pytest.raises(UnidentifiedImageError, match=r"cut\.ctc"):
            Image.open(path)
    with Image.open(io.BytesIO(photo_ctc[: ctc_codec.info(photo_ctc).header_bytes])) as image:
        image.load()


def test_says_why_a_header_is_not_read(photo_ctc: bytes) -> None:
    with pytest.raises(UnidentifiedImageError, match="wrong check sum"):
        Image.open(io.BytesIO(changed(photo_ctc, 8, 0x10)))
    with pytest.raises(UnidentifiedImageError, match="format 3 is not read any more: encode the original"):
        Image.open(io.BytesIO(photo_ctc[:4] + b"\3" + photo_ctc[5:]))
    with pytest.raises(UnidentifiedImageError, match="format version 99"):
        Image.open(io.BytesIO(photo_ctc[:4] + b"\x63" + photo_ctc[5:]))
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(b"CTC\xc7" + photo_ctc[4:]))


# Damage


@pytest.fixture
def truncated_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)


def test_damage_is_an_error_when_pixels_are_loaded(noise_ctc: bytes) -> None:
    with Image.open(io.BytesIO(changed(noise_ctc, 5000, 0x10))) as image:
        assert image.size == (160, 96)
        for _ in range(2):
            with pytest.raises(OSError, match="damaged between bytes 41"):
                image.load()


@pytest.mark.usefixtures("truncated_allowed")
def test_what_stands_before_damage_is_loaded_if_pillow_is_told_so(noise_ctc: bytes) -> None:
    with Image.open(io.BytesIO(changed(noise_ctc, 5000, 0x10))) as image:
        image.load()
        used = ctc_codec.info(noise_ctc).header_bytes + BLOCK_DATA + 2
        assert np.array_equal(np.asarray(image), np.asarray(ctc_codec.decode(noise_ctc[:used])))
        assert image.info["bytes_used"] == used
        assert image.info["bpp"] == pytest.approx(8 * used / (160 * 96))
        assert image.info["complete"] is False
        assert "wrong check sum" in image.info["damage"]


def test_what_follows_the_end_is_found_by_verify_alone(photo_ctc: bytes, expected: np.ndarray) -> None:
    with Image.open(io.BytesIO(photo_ctc + b"more")) as image:
        assert image.info["bytes_used"] == len(photo_ctc)
        assert np.array_equal(np.asarray(image), expected)
    with Image.open(io.BytesIO(photo_ctc + b"more")) as image, pytest.raises(OSError, match="4 bytes follow"):
        image.verify()


def test_verify_finds_damage_without_decoding(
    noise_ctc: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctc_codec.codec.decoder.decode", None)
    path = tmp_path / "image.ctc"
    for data, reason in ((changed(noise_ctc, 5000, 0x10), "wrong check sum"), (noise_ctc, None)):
        path.write_bytes(data)
        with Image.open(path) as image:
            file = image.fp
            if reason is None:
                image.verify()
            else:
                with pytest.raises(OSError, match=reason):
                    image.verify()
            assert file is not None
            assert file.closed
            with pytest.raises(ValueError, match="closed"):
                image.load()


def test_other_and_missing_weights_are_an_oserror(
    photo_ctc: bytes, monkeypatch: pytest.MonkeyPatch, make_photo: MakePhoto, truncated_allowed: None
) -> None:
    """Even if truncated images are allowed."""
    with (
        Image.open(io.BytesIO(with_header(photo_ctc, fingerprint=b"\0\1\2\3"))) as image,
        pytest.raises(OSError, match="other weights") as caught,
    ):
        image.load()
    assert isinstance(caught.value.__cause__, ctc_codec.WeightsError)
    monkeypatch.setenv("CTC_WEIGHTS", "/nowhere.safetensors")
    with Image.open(io.BytesIO(photo_ctc)) as image, pytest.raises(OSError, match="nowhere"):
        image.load()
    with pytest.raises(OSError, match="nowhere"):
        make_photo(16, 16).save(io.BytesIO(), "CTC")


# Pillow's limit of pixels


def test_pillows_own_limit_holds(monkeypatch: pytest.MonkeyPatch, photo_ctc: bytes) -> None:
    def opened(limit: int | None) -> Image.Image:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        return Image.open(io.BytesIO(photo_ctc))

    with pytest.raises(Image.DecompressionBombError):
        opened(120 * 88 // 2 - 1)
    with pytest.warns(Image.DecompressionBombWarning):
        opened(120 * 88 - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened(120 * 88).load()


def test_no_second_limit_of_our_own(monkeypatch: pytest.MonkeyPatch, photo_ctc: bytes) -> None:
    """Pillow's limit is the only one."""
    seen = []

    class Watched(ctc_codec.Decoder):
        def __init__(self, **arguments: object) -> None:
            seen.append(arguments["max_pixels"])
            super().__init__(**arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("ctc_codec.codec.decoder.Decoder", Watched)
    Image.open(io.BytesIO(photo_ctc)).load()
    assert seen == [None]


# Files and streams


def test_files_are_closed_and_streams_of_the_caller_are_not(photo_file: Path, photo_ctc: bytes) -> None:
    image = Image.open(photo_file)
    file = image.fp
    assert file is not None
    assert not file.closed
    image.load()
    assert file.closed
    assert image.fp is None
    image.load()
    assert image.getpixel((3, 3))
    with Image.open(photo_file) as image:
        file = image.fp
    assert file is not None
    assert file.closed
    with pytest.raises(ValueError, match="closed"):
        image.load()
    stream = io.BytesIO(photo_ctc)
    with Image.open(stream) as image:
        image.load()
    assert not stream.closed


def test_streams_that_cannot_seek(photo_ctc: bytes, expected: np.ndarray) -> None:
    with Image.open(OnlyRead(photo_ctc)) as image:  # type: ignore[arg-type]
        assert np.array_equal(np.asarray(image), expected)
    reader, writer = os.pipe()
    sender = threading.Thread(target=lambda: (os.write(writer, photo_ctc), os.close(writer)))
    sender.start()
    with os.fdopen(reader, "rb") as pipe, Image.open(pipe) as image:
        assert np.array_equal(np.asarray(image), expected)
    sender.join()


def test_streams_at_an_offset(photo_ctc: bytes, expected: np.ndarray) -> None:
    stream = io.BytesIO(photo_ctc)
    stream.seek(50)
    with Image.open(stream) as image:  # Pillow begins at 0 with every format
        stream.seek(77)
        assert np.array_equal(np.asarray(image), expected)
    inside = io.BytesIO(b"something else" + photo_ctc)
    inside.seek(len(b"something else"))
    with CtcImageFile(inside) as image:  # as plugins do for images inside of files
        assert image.info["bytes_used"] == len(photo_ctc)
        assert np.array_equal(np.asarray(image), expected)


def test_incremental_parser(photo_ctc: bytes, expected: np.ndarray) -> None:
    parser = ImageFile.Parser()
    for start in range(0, len(photo_ctc), 300):
        parser.feed(photo_ctc[start : start + 300])
    assert np.array_equal(np.asarray(parser.close()), expected)


def test_copies_and_pickles(photo_file: Path, expected: np.ndarray) -> None:
    for duplicate in (copy.copy, copy.deepcopy, Image.Image.copy, lambda i: pickle.loads(pickle.dumps(i))):
        with Image.open(photo_file) as image:
            other = duplicate(image)
        assert np.array_equal(np.asarray(other), expected)
        assert other.info["complete"] is True
        other.putpixel((0, 0), (1, 2, 3))
        assert image.getpixel((0, 0)) == tuple(expected[0, 0])


def test_ordinary_operations_load_it(photo_file: Path, expected: np.ndarray) -> None:
    with Image.open(photo_file) as image:
        assert np.array_equal(np.asarray(image.crop((8, 4, 40, 30))), expected[4:30, 8:40])
    with Image.open(photo_file) as image:
        access = image.load()
        assert access is not None
        access[1, 2] = (9, 8, 7)
        assert image.getpixel((1, 2)) == (9, 8, 7)
    with Image.open(photo_file) as image:
        assert not image.getexif()


def test_it_holds_one_frame(photo_file: Path, expected: np.ndarray) -> None:
    with Image.open(photo_file) as image:
        assert isinstance(image, CtcImageFile)
        assert (image.n_frames, image.is_animated, image.tell()) == (1, False, 0)
        for frame in (1, -1):
            with pytest.raises(EOFError):
                image.seek(frame)
        image.seek(0)
        (only,) = ImageSequence.Iterator(image)
        assert np.array_equal(np.asarray(only), expected)


# Small pictures


@pytest.fixture(scope="module")
def large_ctc(make_photo: MakePhoto) -> bytes:
    """597x403 pixels: no eighths."""
    return ctc_codec.encode(make_photo(597, 403), effort=1)


def test_draft_loads_an_eighth(large_ctc: bytes) -> None:
    small = ctc_codec.thumbnail(large_ctc)
    file = Counting(large_ctc)
    with Image.open(file) as image:
        file.taken = 0
        assert image.draft("RGB", (75, 51)) == ("RGB", (0, 0, 597 / 8, 403 / 8))
        assert image.size == small.size == (75, 51)
        assert image.draft("RGB", (10, 10)) is None
        assert np.array_equal(np.asarray(image), np.asarray(small))
        assert file.taken < 8300 < len(large_ctc)
        assert image.draft("RGB", (10, 10)) is None
        assert image.info["complete"] is True
        assert image.info["bytes_used"] == len(large_ctc)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(76, 1), (1, 52), (597, 403), None])
def test_draft_is_never_too_small(large_ctc: bytes, size: tuple[int, int] | None) -> None:
    with Image.open(io.BytesIO(large_ctc)) as image:
        assert image.draft(None, size) == ("RGB", (0, 0, 597, 403))
        assert np.array_equal(np.asarray(image), np.asarray(ctc_codec.decode(large_ctc)))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["L", "YCbCr"])
def test_draft_turns_colours_to_the_modes_that_jpeg_has(large_ctc: bytes, mode: str) -> None:
    for size, right in (((20, 10), ctc_codec.thumbnail(large_ctc)), (None, ctc_codec.decode(large_ctc))):
        with Image.open(io.BytesIO(large_ctc)) as image:
            answer = image.draft(mode, size)
            assert answer is not None
            assert answer[0] == image.mode == mode
            assert np.array_equal(np.asarray(image), np.asarray(right.convert(mode)))


def test_draft_keeps_other_modes(make_photo: MakePhoto) -> None:
    photo = make_photo(90, 60)
    photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    for source in (photo, photo.convert("LA"), make_photo(90, 60).convert("L")):
        with Image.open(io.BytesIO(ctc_codec.encode(source))) as image:
            assert image.draft("YCbCr", (11, 7)) == (source.mode, (0, 0, 90 / 8, 60 / 8))
            image.load()
            assert (image.mode, image.size) == (source.mode, (12, 8))


@pytest.mark.slow
@pytest.mark.parametrize("size", [(75, 75), (64, 64), (30, 1000), (1000, 50), (7.5, 5.9)])
def test_thumbnails_are_made_of_an_eighth(large_ctc: bytes, size: tuple[float, float]) -> None:
    whole = ctc_codec.decode(large_ctc)
    whole.thumbnail(size)
    file = Counting(large_ctc)
    with Image.open(file) as image:
        file.taken = 0
        image.thumbnail(size)
        assert image.size == whole.size
        difference = np.asarray(image).astype(float) - np.asarray(whole)
        assert np.square(difference).mean() < 60  # 30 dB
        assert file.taken < 8300
        assert image.draft(None, (1, 1)) is None


@pytest.mark.slow
@pytest.mark.parametrize(("size", "gap"), [((76, 76), 2.0), ((64, 64), None), ((700, 700), 2.0)])
def test_thumbnails_that_want_the_whole_picture_are_made_of_it(
    large_ctc: bytes, size: tuple[int, int], gap: float | None
) -> None:
    whole = ctc_codec.decode(large_ctc)
    whole.thumbnail(size, reducing_gap=gap)
    with Image.open(io.BytesIO(large_ctc)) as image:
        image.thumbnail(size, reducing_gap=gap)
        assert np.array_equal(np.asarray(image), np.asarray(whole))


@pytest.mark.slow
def test_thumbnails_of_thin_pictures_and_of_cuts(make_photo: MakePhoto, large_ctc: bytes) -> None:
    thin = ctc_codec.encode(make_photo(600, 3))
    with Image.open(io.BytesIO(thin)) as image:
        image.thumbnail((50, 50))
        assert image.size == (50, 1)
        image.load()
    with Image.open(io.BytesIO(large_ctc[:60])) as image:
        image.thumbnail((50, 50))
        assert image.size == (50, 34)
        assert image.info["bytes_used"] == 60
    with Image.open(io.BytesIO(large_ctc)) as image:  # pixels that are there are not read again
        image.load()
        image.thumbnail((50, 50))
        assert image.size == (50, 34)


def test_damage_behind_a_thumbnail_does_it_no_harm(large_ctc: bytes) -> None:
    assert len(large_ctc) > 10_000
    with Image.open(io.BytesIO(changed(large_ctc, 9000, 0x10))) as image:
        image.thumbnail((50, 50))
    with (
        Image.open(io.BytesIO(changed(large_ctc, 2000, 0x10))) as image,
        pytest.raises(OSError, match="wrong check sum"),
    ):
        image.thumbnail((50, 50))


@pytest.mark.usefixtures("truncated_allowed")
def test_a_thumbnail_of_what_stands_before_damage(large_ctc: bytes) -> None:
    with Image.open(io.BytesIO(changed(large_ctc, 5000, 0x10))) as image:
        image.thumbnail((50, 50))
        assert image.size == (50, 34)
        assert "wrong check sum" in image.info["damage"]


# Metadata


@pytest.fixture
def exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010E] = "a description"
    return exif


XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"


def saved(image: Image.Image, **options: object) -> Image.Image:
    """What opens of a saved image, loaded."""
    image.save(stream := io.BytesIO(), "CTC", **options)
    with Image.open(stream) as again:
        again.load()
        return again


def test_metadata_is_there_once_pixels_are_loaded(make_photo: MakePhoto, exif: Image.Exif) -> None:
    photo = make_photo(24, 16)
    photo.info.update(exif=exif.tobytes(), xmp=XMP, other=1)
    again = saved(photo, metadata=True)
    assert again.getexif()[0x010E] == "a description"
    assert again.info["xmp"] == XMP
    again.save(jpeg := io.BytesIO(), "JPEG", exif=again.info["exif"])
    with Image.open(jpeg) as image:
        assert image.getexif()[0x010E] == "a description"
    assert "other" not in again.info
    assert not {"exif", "xmp", "dpi"} & saved(photo).info.keys()


def test_metadata_is_read_without_pixels(
    make_photo: MakePhoto, exif: Image.Exif, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = make_photo(597, 403)
    photo.save(stream := Counting(), "CTC", exif=exif, xmp=XMP, effort=1)
    with Image.open(stream) as image:
        assert not {"exif", "xmp"} & image.info.keys()
        image.thumbnail((40, 40))
        assert image.getexif()[0x010E] == "a description"
    monkeypatch.setattr("ctc_codec.codec.decoder.Decoder", None)
    with Image.open(stream) as image:
        stream.taken = 0
        assert image.getexif()[0x010E] == "a description"
        assert image.info["xmp"] == XMP
        assert stream.taken < 3000 < len(stream.getvalue())
    with Image.open(stream) as image, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without defusedxml there is no parser
        assert image.getxmp() in ({}, {"xmpmeta": None})
        assert image.info["xmp"] == XMP


@pytest.mark.parametrize("text", [b"", b"II*\0", b"no TIFF structure", bytes(1000), b"II*\0" + bytes(9)])
def test_broken_metadata_fails_no_pixels(
    make_photo: MakePhoto, exif: Image.Exif, monkeypatch: pytest.MonkeyPatch, text: bytes
) -> None:
    photo = make_photo(24, 16)
    right = np.asarray(saved(photo))
    again = saved(photo, exif=text, xmp=text)
    assert np.array_equal(np.asarray(again), right)
    assert not again.getexif()
    monkeypatch.setattr("ctc_codec.container.sections.unpack_text", lambda data: text)  # of other encoders
    again = saved(photo, exif=exif, xmp=XMP, dpi=(72, 72))
    assert np.array_equal(np.asarray(again), right)
    assert not again.getexif()
    assert "dpi" not in again.info


# Saving


def test_saves_what_encode_gives(make_photo: MakePhoto, photo_ctc: bytes, tmp_path: Path) -> None:
    photo = make_photo()
    photo.save(tmp_path / "x.ctc")
    assert (tmp_path / "x.ctc").read_bytes() == photo_ctc
    for options in ({"bpp": 0.3}, {"nbytes": 333}, {"psnr": 26}, {"quality": 60, "effort": 2}):
        photo.save(tmp_path / "x.CTC", **options)
        saved = (tmp_path / "x.CTC").read_bytes()
        assert saved == ctc_codec.encode(photo, **options)
        assert len(saved) < len(photo_ctc)
    stream = io.BytesIO()
    stream.write(b"head")
    photo.save(stream, "ctc", bpp=None)
    stream.write(b"tail")
    assert stream.getvalue() == b"head" + photo_ctc + b"tail"


def test_saves_on_a_background(make_photo: MakePhoto) -> None:
    photo = make_photo(32, 24)
    photo.putalpha(0)
    photo.save(stream := io.BytesIO(), "CTC", background="red")
    with Image.open(stream) as image:
        assert image.mode == "RGB"
        assert np.abs(np.asarray(image).astype(int) - (255, 0, 0)).max() < 60


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "YCbCr"])
def test_saves_the_modes_that_encode_takes(make_photo: MakePhoto, mode: str) -> None:
    image = (
        make_photo(20, 12).convert("L").convert(mode) if mode == "I;16" else make_photo(20, 12).convert(mode)
    )
    stream = io.BytesIO()
    image.save(stream, "CTC")
    with Image.open(stream) as again:
        again.load()
        assert again.size == (20, 12)
        assert again.mode.startswith("L") == (mode in ("1", "L", "I;16"))


def test_saves_an_opened_file_over_itself(photo_file: Path, photo_ctc: bytes, expected: np.ndarray) -> None:
    with Image.open(photo_file) as image:
        image.save(photo_file, bpp=0.5)
    assert photo_file.stat().st_size <= 0.5 * 120 * 88 / 8 < len(photo_ctc)
    with Image.open(photo_file) as image:
        assert np.abs(np.asarray(image).astype(float) - expected).mean() < 15


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"qualty": 80}, ValueError, "no option 'qualty' for .ctc: is 'quality' meant"),
        ({"bytes": 80}, ValueError, "is 'nbytes' meant"),
        ({"BPP": 1}, ValueError, "is 'bpp' meant"),
        ({"icc_profil": None}, ValueError, "is 'icc_profile' meant"),
        ({"max_pixels": 1}, ValueError, "no option 'max_pixels' for .ctc: PIL.Image.MAX_IMAGE_PIXELS"),
        ({"bpp": "0.5"}, TypeError, "bpp must be a number, not str"),
        ({"quality": "keep"}, TypeError, "quality must be a number"),
        ({"exif": "words"}, TypeError, "exif must be bytes or None, not str"),
        ({"xmp": "words"}, TypeError, "xmp must be bytes or None, not str"),
        ({"icc_profile": 5}, TypeError, "icc_profile must be bytes or None, not int"),
        ({"dpi": 300}, TypeError, "dpi must be two numbers, not 300"),
        ({"dpi": (300, "x")}, TypeError, "dpi must be two numbers"),
        ({"quality": 101}, ValueError, "1 to 100"),
        ({"effort": 10}, ValueError, "1 to 9"),
        ({"weights": "x"}, ValueError, "no option 'weights' for .ctc: .CTC_WEIGHTS"),
        ({"bpp": 1, "psnr": 30}, ValueError, "at most one"),
        ({"background": "nocolour"}, ValueError, "nocolour"),
        ({"psnr": 90}, OSError, "out of reach"),
        ({"nbytes": 3}, OSError, "too few"),
        ({"save_all": True, "append_images": [Image.new("L", (1, 1))]}, ValueError, "one image"),
        ({"append_images": [Image.new("L", (1, 1))]}, ValueError, "one image"),
    ],
)
def test_what_cannot_be_saved_leaves_no_file(
    make_photo: MakePhoto,
    tmp_path: Path,
    options: dict[str, object],
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        make_photo(16, 16).save(tmp_path / "x.ctc", **options)
    with pytest.raises(OSError, match="floating-point") as caught:
        Image.new("F", (4, 4)).save(tmp_path / "x.ctc")
    assert isinstance(caught.value.__cause__, ctc_codec.InputError)
    assert not isinstance(caught.value, ctc_codec.CtcError)
    assert list(tmp_path.iterdir()) == []


def test_arguments_of_other_formats_do_nothing(make_photo: MakePhoto, photo_ctc: bytes) -> None:
    stream = io.BytesIO()
    make_photo().save(
        stream, "CTC", save_all=False, append_images=[], optimize=True, progressive=True, subsampling=0,
        qtables=None, lossless=True, method=6, compress_level=9, pnginfo=PngImagePlugin.PngInfo(),
        duration=40, loop=0, bitmap_format="bmp", comment="words", speed=4, alpha_quality=90,
        quality_layers=None, quality_mode="rates", tiffinfo={}, compression="tiff_lzw", transparency=0,
        exif=None, xmp=None, icc_profile=None, dpi=None,
    )  # fmt: skip
    assert stream.getvalue() == photo_ctc


@pytest.mark.parametrize("kind", [Image.Exif.tobytes, lambda exif: exif, lambda exif: exif.tobytes()[6:]])
def test_exif_is_kept_as_an_object_and_as_bytes(
    make_photo: MakePhoto, exif: Image.Exif, kind: Callable[[Image.Exif], object]
) -> None:
    photo = make_photo(24, 16)
    photo.info["exif"] = b"other"
    again = saved(photo, exif=kind(exif), xmp=bytearray(XMP))
    assert dict(again.getexif()) == {0x010E: "a description"}
    assert again.info["xmp"] == XMP


def test_exif_that_pillow_cannot_write_is_named(make_photo: MakePhoto, exif: Image.Exif) -> None:
    exif[0x0112] = "sideways"
    with pytest.raises(ValueError, match="exif cannot be written: "):
        make_photo(24, 16).save(io.BytesIO(), "CTC", exif=exif)


def test_metadata_that_is_too_long_fails_no_pixels(make_photo: MakePhoto, exif: Image.Exif) -> None:
    told: list[str] = []
    again = saved(
        make_photo(24, 16), exif=exif.tobytes() + bytes(17 << 20), xmp=bytes(17 << 20), warn=told.append
    )
    assert not {"exif", "xmp"} & again.info.keys()
    assert len(told) == 2


def test_what_is_given_stands_for_what_the_image_says(make_photo: MakePhoto, exif: Image.Exif) -> None:
    photo = make_photo(24, 16)
    exif[0x0112] = 6  # sideways
    photo.info.update(exif=exif.tobytes(), xmp=XMP)
    info = dict(photo.info)
    assert saved(photo).size == (16, 24)
    none = saved(photo, metadata=True, exif=b"", xmp=None)
    assert none.size == (16, 24)  # which way is up is no secret
    assert not {"exif", "xmp"} & none.info.keys()
    other = Image.Exif()
    other[0x010F] = "Maker"
    again = saved(photo, metadata=True, exif=other)
    assert again.size == (24, 16)
    assert dict(again.getexif()) == {0x010F: "Maker"}
    assert again.info["xmp"] == XMP
    assert "xmp" not in saved(photo, exif=other).info
    other[0x0112] = 3
    turned = np.asarray(saved(photo, exif=other))
    assert np.array_equal(turned, np.asarray(saved(make_photo(24, 16).rotate(180))))
    assert photo.info == info
    assert photo.getexif()[0x010E] == "a description"


def test_a_profile_says_what_the_pixels_are(exif: Image.Exif) -> None:
    def colour(image: Image.Image, **options: object) -> object:
        return saved(image, **options).resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))

    p3 = rgb_profile(DISPLAY_P3, 2.2)
    photo = Image.new("RGB", (32, 32), (180, 90, 70))
    assert colour(photo, icc_profile=p3) == pytest.approx((195, 83, 61), abs=3)
    photo.save(file := io.BytesIO(), "PNG", icc_profile=p3)
    with Image.open(file) as image:
        image.load()
        assert colour(image) == pytest.approx((195, 83, 61), abs=3)
        for none in (None, b""):
            assert colour(image, icc_profile=none) == pytest.approx((180, 90, 70), abs=2)
        assert image.info["icc_profile"] == p3
    assert colour(photo, icc_profile=b"broken") == pytest.approx((180, 90, 70), abs=2)
    photo.info["gamma"] = 1.0
    assert colour(photo, icc_profile=p3) == pytest.approx((195, 83, 61), abs=3)
    assert colour(photo, icc_profile=None) == pytest.approx((180, 90, 70), abs=2)


def test_colours_that_pillow_forgets_are_read_from_the_file(tmp_path: Path) -> None:
    save_png(Image.new("RGB", (32, 32), (180, 90, 70)), tmp_path / "p3.png", cicp(12, 13))
    with Image.open(tmp_path / "p3.png") as image:
        again = saved(image)
        assert again.getpixel((9, 9)) == pytest.approx((193, 83, 63), abs=3)
        assert not [name for name in image.info if str(name).startswith("ctc_codec")]
        (tmp_path / "p3.png").unlink()
        assert saved(image).getpixel((9, 9)) == pytest.approx((180, 90, 70), abs=3)


def test_dots_per_inch_are_kept(make_photo: MakePhoto, exif: Image.Exif) -> None:
    photo = make_photo(24, 16)
    assert saved(photo, dpi=(300, 150.5)).info["dpi"] == (300, 150.5)
    assert len(saved(photo, dpi=(300, 300)).getexif()) == 3
    exif.update({0x011A: 72.0, 0x011B: 72.0, 0x0128: 2})
    assert saved(photo, exif=exif).info["dpi"] == (72, 72)
    again = saved(photo, exif=exif, dpi=np.array([300, 300]))
    assert again.info["dpi"] == (300, 300)
    assert again.getexif()[0x010E] == "a description"
    for nonsense in ((0, 0), (-1, 5), (float("nan"), 3), (1e300, 1e300)):
        assert "dpi" not in saved(photo, dpi=nonsense).info


def test_notes_are_told(make_photo: MakePhoto) -> None:
    told: list[str] = []
    saved(make_photo(20, 12).convert("CMYK"), warn=told.append)
    assert told == ["CMYK without a colour profile: colours are approximate"]


def test_files_of_other_formats_keep_what_pillow_has_no_word_for(make_photo: MakePhoto) -> None:
    """An argument does not turn the image into one without a format: a TIFF in which white is zero."""
    grey = np.arange(24 * 16, dtype=np.uint16).reshape(16, 24) * 100
    Image.fromarray(grey).save(file := io.BytesIO(), "TIFF", tiffinfo={262: 0})
    with Image.open(file) as image:
        plain, other = saved(image), saved(image, dpi=(100, 100))
        assert np.array_equal(np.asarray(plain), np.asarray(other))
        assert np.asarray(plain)[0, 0] > 245


@pytest.mark.parametrize(
    "array",
    [
        np.arange(96, dtype=np.uint8).reshape(8, 12),
        np.arange(96, dtype=np.uint16).reshape(8, 12) * 600,
        np.arange(96, dtype=np.int32).reshape(8, 12) * 600,
        np.arange(96).reshape(8, 12) > 50,
        np.full((8, 12, 2), 99, np.uint8),
        np.full((8, 12, 3), 99, np.uint8),
        np.full((8, 12, 4), 99, np.uint8),
    ],
    ids=lambda array: f"{array.dtype}-{array.ndim}",
)
def test_saves_arrays(array: np.ndarray) -> None:
    image = Image.fromarray(array)
    again = saved(image)
    assert again.size == (12, 8)
    assert again.mode == {2: "L", 3: {2: "LA", 3: "L", 4: "LA"}.get(array.shape[-1])}[array.ndim]


def test_animations_are_saved_by_frame_only(make_photo: MakePhoto, tmp_path: Path) -> None:
    frames = [make_photo(24, 16, seed=seed) for seed in (1, 2)]
    frames[0].save(tmp_path / "two.webp", save_all=True, append_images=frames[1:], lossless=True)
    with Image.open(tmp_path / "two.webp") as animation:
        with pytest.raises(ValueError, match="one image"):
            animation.save(tmp_path / "x.ctc", save_all=True)
        animation.seek(1)
        animation.save(tmp_path / "x.ctc")
    stream = io.BytesIO()
    frames[1].save(stream, "CTC", save_all=True)
    assert (tmp_path / "x.ctc").read_bytes() == stream.getvalue()


# Threads


@pytest.mark.slow
def test_threads_give_what_one_gives(make_photo: MakePhoto, tmp_path: Path) -> None:
    photos = [make_photo(48 + 4 * n, 40, seed=n) for n in range(8)]

    def there_and_back(n: int) -> tuple[bytes, bytes]:
        path = tmp_path / f"{threading.get_ident()}-{n}.ctc"
        photos[n].save(path, bpp=1)
        with Image.open(path) as image:
            return path.read_bytes(), image.tobytes()

    alone = [there_and_back(n) for n in range(8)]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(there_and_back, [*range(8)] * 2))
    assert together == alone * 2
    assert len({data for data, _ in alone}) == 8
