"""Decoding as bytes arrive, damaged bytes, extras, thumbnails, quality tables, and pictures of many tiles."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import ctc_codec
from ctc_codec import (
    CodecModel,
    DamageError,
    Decoder,
    FormatError,
    LimitError,
    TargetError,
    WeightsError,
    decode,
    encode,
    load_model,
    thumbnail,
    truncate,
)
from ctc_codec.container.blocks import frame
from ctc_codec.container.header import Header
from ctc_codec.image.source import SourceImage
from support.pictures import KINDS, gradient, photograph, psnr


@pytest.fixture(scope="module")
def model() -> CodecModel:
    return load_model(threads=1)


@pytest.fixture(scope="module")
def cutout() -> Image.Image:
    """RGBA, a disc with a soft edge."""
    image = Image.fromarray(photograph(300, 240)).convert("RGBA")
    y, x = np.mgrid[0:240, 0:300]
    alpha = np.clip(800 - 9 * np.hypot(x - 150, y - 120), 0, 255).astype(np.uint8)
    image.putalpha(Image.fromarray(alpha))
    return image


@pytest.fixture(scope="module")
def cutout_ctc(cutout: Image.Image, model: CodecModel) -> bytes:
    return encode(cutout, weights=model)


@pytest.fixture(scope="module")
def small() -> Image.Image:
    return Image.fromarray(photograph(90, 70))


@pytest.fixture(scope="module")
def small_ctc(small: Image.Image, model: CodecModel) -> bytes:
    return encode(small, weights=model)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


def _sha256(data: bytes, model: CodecModel) -> str:
    decoder = Decoder(weights=model)
    decoder.feed(data)
    decoder.finish()
    return decoder.latent().sha256()


# --- streaming --------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 7, 1000, 1_000_000])
def test_pieces_of_any_size_give_the_same_image(step: int, cutout_ctc: bytes, model: CodecModel) -> None:
    decoder = Decoder(weights=model)
    for start in range(0, len(cutout_ctc), step):
        assert not decoder.complete
        decoder.feed(cutout_ctc[start : start + step])
    assert decoder.complete
    assert decoder.bytes_used == len(cutout_ctc)
    assert decoder.image() == decode(cutout_ctc, weights=model)
    assert decoder.latent().sha256() == _sha256(cutout_ctc, model)


def test_there_is_an_image_at_any_time_and_it_is_that_of_the_prefix(
    cutout_ctc: bytes, model: CodecModel
) -> None:
    decoder, at = Decoder(weights=model), 0
    for size in (1, 10, 25, 26, 200, 201, 202, 600, 4117, 4118, 4119, 9000, len(cutout_ctc)):
        decoder.feed(cutout_ctc[at:size])
        at = size
        if decoder.header is None:
            with pytest.raises(FormatError, match="inside the header"):
                decoder.image()
            continue
        assert decoder.bytes_used == size
        assert decoder.complete == (size == len(cutout_ctc))
        assert decoder.latent().sha256() == _sha256(cutout_ctc[:size], model)
        if size in (26, 600, 9000):
            image = decoder.image()
            assert image == decode(cutout_ctc[:size], weights=model)
            assert image == decoder.image()


def test_a_latent_once_given_stays(small_ctc: bytes, model: CodecModel) -> None:
    decoder = Decoder(weights=model)
    decoder.feed(small_ctc[:600])
    latent = decoder.latent()
    before, value = latent.sha256(), latent.state.value.copy()
    decoder.feed(small_ctc[600:])
    assert decoder.latent().sha256() != before
    assert latent.sha256() == before
    assert np.array_equal(latent.state.value, value)


def test_a_latent_says_how_much_of_it_is_held(small_ctc: bytes, model: CodecModel) -> None:
    decoder = Decoder(weights=model)
    decoder.feed(small_ctc[:22])
    latent = decoder.latent()
    assert (latent.planes_held, latent.low_held, latent.slices) == (0, False, 0)
    held = []
    for start in range(22, len(small_ctc), 100):
        decoder.feed(small_ctc[start : start + 100])
        latent = decoder.latent()
        assert latent.low_held
        held.append(latent.planes_held)
    assert held == sorted(held)
    header = decoder.checked_header()
    assert latent.slices == header.slices
    assert header.planes - 2 < held[-1] < header.planes == latent.planes  # the file ends amid a plane


def test_a_finished_decoder_takes_no_more(small_ctc: bytes, model: CodecModel) -> None:
    decoder = Decoder(weights=model)
    decoder.feed(small_ctc[:700])
    decoder.finish()
    assert decoder.image() == decode(small_ctc[:700], weights=model)
    with pytest.raises(ValueError, match="finished"):
        decoder.feed(small_ctc[700:])


def test_feed_refuses_what_decode_refuses(small_ctc: bytes, model: CodecModel) -> None:
    with pytest.raises(FormatError, match=r"not a \.ctc"):
        Decoder(weights=model).feed(b"\x89PNG")
    other = Header(90, 70, b"\0\1\2\3", 100, planes=1, slices=1).to_bytes()
    with pytest.raises(WeightsError, match="other weights"):
        Decoder(weights=model).feed(other)
    with pytest.raises(LimitError):
        Decoder(weights=model, max_pixels=100).feed(small_ctc)
    with pytest.raises(FormatError, match="empty"):
        Decoder(weights=model).image()
    decoder = Decoder(weights=model)
    decoder.feed(small_ctc)
    with pytest.raises(DamageError, match="follow the end"):
        decoder.feed(b"more")


# --- damage -----------------------------------------------------------------------------------------


def test_damage_is_told_once_and_what_stands_before_it_stays_decodable(
    cutout_ctc: bytes, model: CodecModel
) -> None:
    data = bytearray(cutout_ctc)
    data[4500] ^= 1
    with pytest.raises(DamageError, match="check sum"):
        Decoder(weights=model).feed(bytes(data))
    told: list[str] = []
    decoder = Decoder(weights=model, accept_damage=True, warn=told.append)
    for start in range(0, len(data), 500):
        decoder.feed(bytes(data[start : start + 500]))
        if start in (4500, 8000):
            decoder.image()  # of bytes whose check sum has not come yet
    assert len(told) == 1
    assert not decoder.complete
    whole = Header.parse(cutout_ctc)[1] + 4096
    assert decoder.bytes_used == whole
    assert decoder.image() == decode(cutout_ctc[:whole], weights=model)


@pytest.mark.parametrize("at", [4, 12, 20, 22, 60, 400, -3, -2, -1])
def test_any_changed_byte_is_noticed(at: int, small_ctc: bytes, model: CodecModel) -> None:
    data = bytearray(small_ctc)
    data[at] ^= 4
    with pytest.raises(FormatError):
        decode(bytes(data), weights=model)


def test_a_code_word_that_no_encoder_writes_is_damage_that_can_be_accepted(
    small_ctc: bytes, model: CodecModel
) -> None:
    """Check sums are right: by someone who wrote them."""
    header = Header.parse(small_ctc)[0]
    for code in (bytes(4), b"\xff" * 400, bytes(range(200))):
        made = Header(90, 70, model.fingerprint, len(code), planes=header.planes, slices=header.slices)
        data = made.to_bytes() + frame(code)
        decoder = Decoder(weights=model)
        for _ in range(3):
            with pytest.raises(DamageError):
                decoder.feed(data) if decoder.header is None else decoder.image()
        told: list[str] = []
        decoder = Decoder(weights=model, accept_damage=True, warn=told.append)
        decoder.feed(data)
        assert decoder.image().size == (90, 70)
        assert len(told) == 1
        assert not decoder.complete


def _with(header: Header, small_ctc: bytes) -> bytes:
    """The same stream under another header."""
    return header.to_bytes() + small_ctc[Header.parse(small_ctc)[1] :]


@pytest.mark.parametrize(("planes", "slices"), [(1, 1), (0, 0), (10, 160), (7, 159)])
def test_headers_that_do_not_belong_to_their_code_are_no_crash(
    planes: int, slices: int, small_ctc: bytes, model: CodecModel
) -> None:
    found, _ = Header.parse(small_ctc)
    for width, height, grey in ((90, 70, True), (16, 16, False), (200, 300, False)):
        header = Header(
            width, height, model.fingerprint, found.code_bytes, grey,
            extras_bytes=found.extras_bytes, planes=planes, slices=slices,
        )  # fmt: skip
        data = _with(header, small_ctc)
        for accept_damage in (False, True):
            try:
                image = decode(data, weights=model, accept_damage=accept_damage)
            except DamageError:
                assert not accept_damage
            else:
                assert image.size == (width, height)


# --- transparency and metadata ----------------------------------------------------------------------


def test_alpha_is_exact_in_a_whole_file(cutout: Image.Image, cutout_ctc: bytes, model: CodecModel) -> None:
    image = decode(cutout_ctc, weights=model)
    assert image.mode == "RGBA"
    assert image.getchannel("A").tobytes() == cutout.getchannel("A").tobytes()
    seen = pixels(cutout)[..., 3] > 0
    assert psnr(pixels(cutout)[seen][:, :3], pixels(image)[seen][:, :3]) > 34


def test_alpha_of_cut_files_goes_from_opaque_over_rough_to_exact(
    cutout: Image.Image, cutout_ctc: bytes, model: CodecModel
) -> None:
    true = pixels(cutout)[..., 3].astype(float)
    errors = []
    for cut in (*range(30, 3000, 99), len(cutout_ctc)):
        image = decode(cutout_ctc[:cut], weights=model)
        assert image.mode == "RGBA"
        errors.append(np.abs(pixels(image)[..., 3] - true).mean())
    assert errors[0] == np.abs(255 - true).mean()
    assert errors == sorted(errors, reverse=True)
    assert any(0 < error < 3 for error in errors)
    assert errors[-1] == 0


def test_grey_with_alpha_stays_grey(cutout: Image.Image, model: CodecModel) -> None:
    image = decode(encode(cutout.convert("LA"), weights=model), weights=model)
    assert image.mode == "LA"
    assert image.getchannel("A").tobytes() == cutout.getchannel("A").tobytes()
    seen = pixels(cutout)[..., 3] > 0
    assert psnr(pixels(cutout.convert("LA"))[seen][:, :1], pixels(image)[seen][:, :1]) > 34


def test_metadata_come_back_after_the_first_useful_bytes(small: Image.Image, model: CodecModel) -> None:
    exif, xmp = b"MM\0*\0\0\0\x08\0\0\0\0\0\0", b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>" * 40
    plain = SourceImage(pixels(small), False, [])
    data = encode(SourceImage(plain.pixels, False, [], None, exif, xmp), weights=model)
    image = decode(data, weights=model)
    assert (image.info["exif"], image.info["xmp"]) == (exif, xmp)
    assert image.mode == "RGB"
    assert len(data) < len(encode(plain, weights=model)) + 150
    first = 270
    assert decode(data[:first], weights=model).info == {}
    assert _sha256(data[:first], model) == _sha256(encode(plain, weights=model)[:first], model)
    assert ctc_codec.info(data).sections == ("quality table", "EXIF", "XMP")


# --- thumbnails -------------------------------------------------------------------------------------


def _boxed(image: Image.Image, like: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """Both at an eighth, where eight pixels are whole: the means of the large one, and the small one."""
    width, height = (side // 8 for side in image.size)
    return pixels(image.crop((0, 0, 8 * width, 8 * height)).reduce(8)), pixels(like)[:height, :width]


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (17, 33), (200, 150), (640, 16), (8, 8), (65, 64)])
def test_thumbnail_is_the_picture_at_an_eighth(size: tuple[int, int], model: CodecModel) -> None:
    """Its sides are rounded up; one colour stays that colour."""
    for samples in (gradient(*size), np.full((size[1], size[0], 3), (200, 30, 90), np.uint8)):
        data = encode(Image.fromarray(samples), weights=model)
        little = thumbnail(data, weights=model)
        assert little.size == (math.ceil(size[0] / 8), math.ceil(size[1] / 8))
        assert little.mode == "RGB"
    assert np.abs(pixels(little).astype(int) - (200, 30, 90)).max() <= 1


@pytest.mark.parametrize(
    ("kind", "least"), [("photograph", 24), ("snapshot", 34), ("ramp", 36), ("dither", 24)]
)
def test_thumbnail_has_the_means_of_eight_by_eight_pixels(kind: str, least: float, model: CodecModel) -> None:
    """Nearly: the low band is a little sharper, and its samples lie a little up and left of the means."""
    image = Image.fromarray(KINDS[kind](320, 240))
    little = thumbnail(encode(image, weights=model), weights=model)
    assert little.mode == image.mode
    assert psnr(*_boxed(image, little)) > least


def test_thumbnail_needs_the_first_bytes_only(model: CodecModel) -> None:
    data = encode(Image.fromarray(photograph(512, 384)), weights=model)
    enough = Header.parse(data)[1] + 4096  # a block: 1/8 bpp and 512 bytes are less
    assert len(data) > enough
    assert thumbnail(data[:enough], weights=model) == thumbnail(data, weights=model)
    assert thumbnail(data[:300], weights=model).size == (64, 48)


def test_thumbnail_of_damaged_bytes(small_ctc: bytes, model: CodecModel) -> None:
    """As far as they are read: to the end of a block, where its check sum is."""
    at = Header.parse(small_ctc)[1] + 300
    damaged = small_ctc[:at] + bytes([small_ctc[at] ^ 1]) + small_ctc[at + 1 :]
    with pytest.raises(DamageError):
        thumbnail(damaged, weights=model)
    assert thumbnail(damaged, weights=model, accept_damage=True).size == (12, 9)


def test_thumbnail_keeps_mode_and_alpha(cutout: Image.Image, cutout_ctc: bytes, model: CodecModel) -> None:
    little = thumbnail(cutout_ctc, weights=model)
    assert little.mode == "RGBA"
    assert little.size == (38, 30)
    expected, found = _boxed(cutout.getchannel("A"), little.getchannel("A"))
    assert np.abs(found.astype(int) - expected).mean() < 1
    assert thumbnail(encode(cutout.convert("LA"), weights=model), weights=model).mode == "LA"


# --- quality tables ---------------------------------------------------------------------------------


def test_table_says_what_a_cut_really_gives(model: CodecModel) -> None:
    """Loose bounds: how near it is on photographs is in README."""
    samples = photograph(300, 220)
    data = encode(Image.fromarray(samples), weights=model)
    table = [step for step in ctc_codec.info(data).quality if step[1] > 22]
    assert len(table) >= 6
    for count, db in table:
        assert psnr(samples, pixels(decode(data[:count], weights=model))) == pytest.approx(db, abs=1.0)
    cut = truncate(data, psnr=28.0)
    assert psnr(samples, pixels(decode(cut, weights=model))) == pytest.approx(28.0, abs=1.0)
    with pytest.raises(TargetError, match="out of reach"):
        truncate(data, psnr=70.0)


@pytest.mark.parametrize("kind", ["photograph", "text", "checks-2px", "red"])
def test_tables_do_not_fall(kind: str, model: CodecModel) -> None:
    samples = KINDS[kind](130, 97)
    told = ctc_codec.info(encode(Image.fromarray(samples), weights=model, quality=95))
    assert told.psnr is not None
    assert told.psnr > 44
    for (less, worse), (more, better) in itertools.pairwise(told.quality):
        assert less < more
        assert worse <= better


def test_files_without_a_table_are_20_bytes_smaller_and_else_the_same(
    small: Image.Image, model: CodecModel
) -> None:
    data, bare = encode(small, weights=model), encode(small, weights=model, quality_table=False)
    assert len(data) - len(bare) in (17, 18, 19, 20)
    assert ctc_codec.info(bare).quality == ()
    assert _sha256(data, model) == _sha256(bare, model)
    with pytest.raises(TargetError, match="no quality table"):
        truncate(bare, psnr=25.0)


# --- pictures of more than one tile -----------------------------------------------------------------


def test_a_picture_of_four_tiles(model: CodecModel) -> None:
    x, y = np.meshgrid(np.arange(1100), np.arange(1040))
    samples = np.tile(photograph(275, 260), (4, 4, 1))
    samples[..., 0] = samples[..., 0] // 2 + (x + y) // 20 % 128  # no two tiles alike
    image = Image.fromarray(samples)
    data = encode(image, weights=model, effort=1, quality=30)
    decoder = Decoder(weights=model)
    for start in range(0, len(data), 5000):
        decoder.feed(data[start : start + 5000])
    assert decoder.image() == decode(data, weights=model)
    assert psnr(samples, pixels(decoder.image())) > 28.8
    for cut in (len(data) // 50, len(data) // 3, len(data) - 1):
        assert decode(data[:cut], weights=model).size == (1100, 1040)
    assert thumbnail(data, weights=model).size == (138, 130)
    # The border between tiles is no seam: errors beside it are those of its neighbourhood.
    error = np.abs(pixels(decoder.image()).astype(int) - samples).mean(axis=2)
    assert error[:, 1020:1028].mean() < 1.25 * error[:, 950:1090].mean()
    assert error[1020:1028].mean() < 1.25 * error[950:].mean()


_PEAK = """
import resource
from PIL import Image
from ctc_codec import decode, encode, load_model
model = load_model(threads=1)
small = Image.effect_mandelbrot((60, 40), (-2, -1, 1, 1), 90).convert("RGB")
decode(encode(small.resize((256, 256)), weights=model), weights=model)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
image = small.resize((2400, 1800), Image.Resampling.BICUBIC)
data = encode(image, weights=model, effort=1)
encoded = peak()
decode(data, weights=model)
print(encoded - before, peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory in another unit")
def test_memory_is_some_bytes_for_each_pixel() -> None:
    done = subprocess.run([sys.executable, "-c", _PEAK], capture_output=True, text=True, check=True)
    encoding, both = map(float, done.stdout.split())
    pixel = 2400 * 1800 / 2**20
    assert encoding < 150 * pixel
    assert both < 150 * pixel
