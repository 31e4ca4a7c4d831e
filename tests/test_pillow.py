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
from PIL import Image, ImageFile, ImageSequence, UnidentifiedImageError

import ctc_codec
import ctc_codec.pillow
from ctc_codec.container.blocks import BLOCK_DATA
from ctc_codec.pillow import CtcImageFile
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


def test_opening_reads_no_more_than_the_header(photo_ctc: bytes) -> None:
    class Counting(io.BytesIO):
        taken = 0

        def read(self, count: int | None = -1, /) -> bytes:
            data = super().read(count)
            self.taken += len(data)
            return data

    file = Counting(photo_ctc)
    with Image.open(file, formats=["CTC"]) as image:
        assert file.taken < 200
        image.load()
        assert file.taken > len(photo_ctc)


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


def test_bytes_after_the_end_are_damage(
    photo_ctc: bytes, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Image.open(io.BytesIO(photo_ctc + b"more")) as image:
        assert image.info["bytes_used"] == len(photo_ctc)
        with pytest.raises(OSError, match="4 bytes follow"):
            image.load()
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        assert np.array_equal(np.asarray(image), expected)


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
        image.thumbnail((30, 30))
        assert image.size == (30, 22)
    with Image.open(photo_file) as image:
        assert len(list(ImageSequence.Iterator(image))) == 1
        assert not image.getexif()


def test_metadata_is_there_once_pixels_are_loaded(make_photo: MakePhoto) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a description"
    photo = make_photo(24, 16)
    photo.info.update(exif=exif.tobytes(), xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>", other=1)
    stream = io.BytesIO()
    photo.save(stream, "CTC", metadata=True)
    with Image.open(stream) as image:
        assert not {"exif", "xmp"} & image.info.keys()
        assert image.getexif()[0x010E] == "a description"
        assert b"adobe:ns:meta" in image.info["xmp"]
        assert "other" not in image.info
    photo.save(stream := io.BytesIO(), "CTC")
    with Image.open(stream) as image:
        assert not image.getexif()


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
        ({"optimize": True}, ValueError, "no option 'optimize' for .ctc; there are quality, bpp, nbytes"),
        ({"quality": 101}, ValueError, "1 to 100"),
        ({"effort": 10}, ValueError, "1 to 9"),
        ({"weights": "x"}, ValueError, "no option 'weights'"),
        ({"bpp": 1, "psnr": 30}, ValueError, "at most one"),
        ({"background": "nocolour"}, ValueError, "nocolour"),
        ({"psnr": 90}, OSError, "out of reach"),
        ({"nbytes": 3}, OSError, "too few"),
        ({"save_all": True, "append_images": [Image.new("L", (1, 1))]}, ValueError, "one image"),
        ({"append_images": [Image.new("L", (1, 1))]}, ValueError, "one image|no option"),
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
