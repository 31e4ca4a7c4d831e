"""Decoding as bytes arrive, thumbnails, and cuts at a quality."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

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
    decode_latent,
    encode,
    thumbnail,
    truncate,
)
from ctc_codec._header import Header
from ctc_codec._image import SourceImage, psnr
from ctc_codec._target import smallest_prefix
from ctc_codec.evaluation.bench import synthetic_image

TINY = Path(__file__).parent / "data" / "format" / "tiny.safetensors"
MakePhoto = Callable[..., Image.Image]


@pytest.fixture(scope="module")
def model() -> CodecModel:
    return ctc_codec.load_model()


@pytest.fixture(scope="module")
def tiny() -> CodecModel:
    return ctc_codec.load_model(TINY)


@pytest.fixture(scope="module")
def cutout(make_photo: MakePhoto) -> Image.Image:
    """RGBA, a disc with a soft edge."""
    image = make_photo(400, 300).convert("RGBA")
    y, x = np.mgrid[0:300, 0:400]
    alpha = np.clip(1000 - 9 * np.hypot(x - 200, y - 150), 0, 255).astype(np.uint8)
    image.putalpha(Image.fromarray(alpha))
    return image


@pytest.fixture(scope="module")
def cutout_ctc(cutout: Image.Image, model: CodecModel) -> bytes:
    return encode(cutout, weights=model)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


# --- streaming --------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 7, 1000, 100_000])
def test_pieces_of_any_size_give_the_same_image(step: int, cutout_ctc: bytes, model: CodecModel) -> None:
    decoder = Decoder(weights=model)
    for start in range(0, len(cutout_ctc), step):
        decoder.feed(cutout_ctc[start : start + step])
    assert decoder.complete
    assert decoder.bytes_used == len(cutout_ctc)
    assert np.array_equal(pixels(decoder.image()), pixels(decode(cutout_ctc, weights=model)))


def test_there_is_an_image_at_any_time_and_it_is_that_of_the_prefix(
    cutout_ctc: bytes, model: CodecModel
) -> None:
    decoder, at = Decoder(weights=model), 0
    for size in (1, 10, 25, 26, 200, 201, 202, 600, 900, 2000, 3000, 3001, 4500, len(cutout_ctc)):
        decoder.feed(cutout_ctc[at:size])
        at = size
        if decoder.header is None:
            with pytest.raises(FormatError, match="inside the header"):
                decoder.image()
            continue
        assert decoder.bytes_used == size
        assert decoder.complete == (size == len(cutout_ctc))
        expected = decode_latent(cutout_ctc[:size], weights=model)[1]
        assert decoder.latent().sha256() == expected.sha256()
        assert decoder.latent().trits == expected.trits
        if size in (26, 900, 3001):
            image = decoder.image()
            assert np.array_equal(pixels(image), pixels(decode(cutout_ctc[:size], weights=model)))
            assert np.array_equal(pixels(image), pixels(decoder.image()))


def test_no_trit_is_decoded_twice(
    photo_ctc: bytes, model: CodecModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted where symbols leave the range decoder."""
    from ctc_codec import _stream

    given = 0

    class Counting(_stream.RangeDecoder):
        def decode(self, rows: np.ndarray) -> np.ndarray:
            nonlocal given
            symbols = super().decode(rows)
            given += len(symbols)
            return symbols

    monkeypatch.setattr(_stream, "RangeDecoder", Counting)
    decode_latent(photo_ctc, weights=model)
    at_once, given = given, 0
    decoder = Decoder(weights=model)
    for start in range(0, len(photo_ctc), 100):
        decoder.feed(photo_ctc[start : start + 100])
        decoder.latent()
    assert given == at_once > 1000


def test_a_latent_once_given_stays(photo_ctc: bytes, model: CodecModel) -> None:
    decoder = Decoder(weights=model)
    decoder.feed(photo_ctc[:600])
    latent = decoder.latent()
    before, node = latent.sha256(), latent.node.copy()
    decoder.feed(photo_ctc[600:])
    assert decoder.latent().sha256() != before
    assert latent.sha256() == before
    assert np.array_equal(latent.node, node)


def test_feed_refuses_what_decode_refuses(photo_ctc: bytes, model: CodecModel, tiny: CodecModel) -> None:
    with pytest.raises(FormatError, match=r"not a \.ctc"):
        Decoder(weights=model).feed(b"\x89PNG")
    with pytest.raises(WeightsError, match="other weights"):
        Decoder(weights=tiny).feed(photo_ctc)
    with pytest.raises(LimitError):
        Decoder(weights=model, max_pixels=100).feed(photo_ctc)
    with pytest.raises(FormatError, match="empty"):
        Decoder(weights=model).image()
    decoder = Decoder(weights=model)
    decoder.feed(photo_ctc)
    with pytest.raises(DamageError, match="follow the end"):
        decoder.feed(b"more")


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
    assert len(told) == 1
    assert not decoder.complete
    start = Header.parse(bytes(data))[1]
    assert decoder.bytes_used == start + 4096
    assert np.array_equal(pixels(decoder.image()), pixels(decode(cutout_ctc[: start + 4096], weights=model)))


# --- transparency and metadata ----------------------------------------------------------------------


def test_alpha_is_exact_in_a_whole_file(cutout: Image.Image, cutout_ctc: bytes, model: CodecModel) -> None:
    image = decode(cutout_ctc, weights=model)
    assert image.mode == "RGBA"
    assert image.getchannel("A").tobytes() == cutout.getchannel("A").tobytes()
    seen = pixels(cutout)[..., 3] > 0
    assert psnr(pixels(cutout)[seen][:, :3], pixels(image)[seen][:, :3]) > 30


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
    assert psnr(pixels(cutout.convert("LA"))[seen][:, :1], pixels(image)[seen][:, :1]) > 30


def test_a_grey_image_costs_no_more_than_its_colour_version(make_photo: MakePhoto, model: CodecModel) -> None:
    image = make_photo(256, 192)
    grey = image.convert("L")
    small = encode(grey, weights=model)
    assert len(small) < len(encode(image, weights=model))
    decoded = decode(small, weights=model)
    assert decoded.mode == "L"
    assert psnr(pixels(grey), pixels(decoded)) > 30


def test_metadata_come_back_after_the_first_useful_bytes(make_photo: MakePhoto, model: CodecModel) -> None:
    exif, xmp = b"MM\0*\0\0\0\x08\0\0\0\0\0\0", b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>" * 40
    plain = SourceImage(pixels(make_photo()), False, [])
    data = encode(SourceImage(plain.pixels, False, [], None, exif, xmp), weights=model)
    image = decode(data, weights=model)
    assert (image.info["exif"], image.info["xmp"]) == (exif, xmp)
    assert image.mode == "RGB"
    assert len(data) < len(encode(plain, weights=model)) + 150
    first = 270
    assert decode(data[:first], weights=model).info == {}
    latents = [decode_latent(d[:first], weights=model)[1] for d in (data, encode(plain, weights=model))]
    assert latents[0].trits == latents[1].trits > 0
    assert ctc_codec.info(data).sections == ("quality table", "EXIF", "XMP")


# --- thumbnails -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 33), (200, 150), (640, 16)])
def test_thumbnail_is_the_decoded_picture_at_an_eighth(width: int, height: int, model: CodecModel) -> None:
    data = encode(synthetic_image(width, height), weights=model)
    small = thumbnail(data, weights=model)
    assert small.size == (math.ceil(width / 8), math.ceil(height / 8))
    assert small.mode == "RGB"
    if min(width, height) >= 16:
        whole = pixels(decode(data, weights=model).crop((0, 0, width // 8 * 8, height // 8 * 8)).reduce(8))
        assert psnr(whole, pixels(small)[: height // 8, : width // 8]) > 24


def test_thumbnail_needs_the_first_bytes_only(make_photo: MakePhoto, model: CodecModel) -> None:
    data = encode(make_photo(512, 384), weights=model)
    enough = 30 + 4096  # a block: 1/8 bpp and 512 bytes are less
    assert len(data) > enough
    assert (
        pixels(thumbnail(data[:enough], weights=model)).tobytes()
        == pixels(thumbnail(data, weights=model)).tobytes()
    )
    assert thumbnail(data[:300], weights=model).size == (64, 48)


def test_thumbnail_of_damaged_bytes(photo_ctc: bytes, model: CodecModel) -> None:
    """As far as they are read: to the end of a block, where its check sum is."""
    at = Header.parse(photo_ctc)[1] + 300
    damaged = photo_ctc[:at] + bytes([photo_ctc[at] ^ 1]) + photo_ctc[at + 1 :]
    with pytest.raises(DamageError):
        thumbnail(damaged, weights=model)


def test_thumbnail_keeps_mode_and_alpha(cutout: Image.Image, cutout_ctc: bytes, model: CodecModel) -> None:
    small = thumbnail(cutout_ctc, weights=model)
    assert small.mode == "RGBA"
    assert small.size == (50, 38)
    expected = pixels(cutout.getchannel("A").crop((0, 0, 400, 296)).reduce(8))
    assert np.abs(pixels(small)[:37, :, 3].astype(int) - expected).mean() < 1
    assert thumbnail(encode(cutout.convert("LA"), weights=model), weights=model).mode == "LA"


# --- targets ----------------------------------------------------------------------------------------


def test_encoding_to_a_psnr_stops_at_the_very_byte(make_photo: MakePhoto, model: CodecModel) -> None:
    image = make_photo(160, 128)
    whole = encode(image, weights=model)
    for target in (22.0, 26.5):
        data = encode(image, weights=model, psnr=target)
        assert whole.startswith(data)
        reached, less = (
            psnr(pixels(image), pixels(decode(data[:count], weights=model)))
            for count in (len(data), len(data) - 1)
        )
        assert less < target <= reached
    with pytest.raises(TargetError, match="out of reach"):
        encode(image, weights=model, psnr=80.0)


def test_table_says_what_a_cut_really_gives(model: CodecModel) -> None:
    """Loose bounds: how near it is on photographs is in README."""
    image = synthetic_image(384, 320)
    data = encode(image, weights=model)
    table = [step for step in ctc_codec.info(data).quality if step[1] > 22]
    assert len(table) >= 6
    for count, db in table:
        assert psnr(pixels(image), pixels(decode(data[:count], weights=model))) == pytest.approx(db, abs=1.0)
    small = truncate(data, psnr=28.0)
    assert psnr(pixels(image), pixels(decode(small, weights=model))) == pytest.approx(28.0, abs=1.0)
    with pytest.raises(TargetError, match="out of reach"):
        truncate(data, psnr=70.0)


def test_files_without_a_table_are_20_bytes_smaller_and_else_the_same(
    make_photo: MakePhoto, model: CodecModel
) -> None:
    image = make_photo()
    data, bare = encode(image, weights=model), encode(image, weights=model, quality_table=False)
    assert len(data) - len(bare) in (17, 18, 19, 20)
    assert ctc_codec.info(bare).quality == ()
    assert decode_latent(data, weights=model)[1].sha256() == decode_latent(bare, weights=model)[1].sha256()
    with pytest.raises(TargetError, match="no quality table"):
        truncate(bare, psnr=25.0)


@pytest.mark.parametrize("target", [1.0, 20.0, 33.3, 59.999])
@pytest.mark.parametrize("steps", [1, 37])
def test_smallest_prefix_of_a_rising_quality(target: float, steps: int) -> None:
    asked: list[int] = []

    def quality(count: int) -> float:
        asked.append(count)
        return 60 * math.log(count // steps * steps + 1) / math.log(50_001 // steps * steps + 1)

    found = smallest_prefix(quality, 20, 50_001, target, quality(50_001))
    assert quality(found) >= target
    assert found == 20 or quality(found - 1) < target
    assert len(asked) < 45
