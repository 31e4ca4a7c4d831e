"""Decoding: any cut, bytes as they arrive, damage, transparency, metadata, and what is refused."""

from __future__ import annotations

import contextlib
import gc
import random
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ctc_codec import (
    CodecModel,
    DamageError,
    DecodedLatent,
    Decoder,
    FormatError,
    Header,
    LimitError,
    WeightsError,
    decode,
    encode,
    info,
    truncate,
)
from ctc_codec.codec import decoder as decoder_module
from ctc_codec.codec import walk as walk_module
from ctc_codec.container.blocks import BLOCK_BYTES
from ctc_codec.container.file import pack, parse
from ctc_codec.container.verify import verify
from ctc_codec.image.source import SourceImage
from support.coding import assert_prefix, latent_of
from support.pictures import KINDS, Samples, photograph, psnr
from support.streams import changed, with_header


@pytest.fixture(scope="module")
def small() -> Image.Image:
    return Image.fromarray(photograph(90, 70))


@pytest.fixture(scope="module")
def small_ctc(small: Image.Image, model: CodecModel) -> bytes:
    return encode(small, weights=model)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


def fed(data: bytes, model: CodecModel, *, accept_damage: bool = False) -> Decoder:
    decoder = Decoder(weights=model, accept_damage=accept_damage)
    decoder.feed(data)
    return decoder


# --- cuts -------------------------------------------------------------------------------------------


def _cuts(samples: Samples, data: bytes, model: CodecModel, step: int = 1) -> list[float]:
    """PSNR at every so many bytes, from a decoder that is fed so; and each state leads to the next."""
    decoder, found = Decoder(weights=model), []
    before: DecodedLatent | None = None
    for at in range(0, len(data), step):
        decoder.feed(data[at : at + step])
        if decoder.header is None:
            continue
        latent = decoder.latent()
        if before is not None:
            assert_prefix(before, latent)
        before = latent
        shown = pixels(decoder.image())
        found.append(psnr(samples if samples.ndim == shown.ndim else samples[..., 0], shown))
    assert decoder.complete
    assert before is not None
    assert before.slices == info(data).header.slices
    assert before.state.known.all() or before.planes_held < before.planes
    return found


def _largest_fall(found: list[float]) -> float:
    finite = np.minimum(found, 99.0)
    return float((np.maximum.accumulate(finite) - finite).max())


@pytest.mark.slow
def test_every_cut_of_a_photograph_is_as_good_as_the_one_before(model: CodecModel) -> None:
    """To within 0.35 dB, where a plane begins: means in whole intervals come from new densities then."""
    for samples in (photograph(48, 40), photograph(45, 37)[..., 1]):
        found = _cuts(samples, encode(Image.fromarray(samples), weights=model), model)
        assert _largest_fall(found) < 0.35
        assert found[-1] > 39.99


@pytest.mark.slow
def test_coarser_cuts_of_a_larger_photograph(model: CodecModel) -> None:
    samples = photograph(300, 220)
    data = encode(Image.fromarray(samples), weights=model, effort=7, quality=97)
    found = _cuts(samples, data, model, step=max(len(data) // 100, 1))
    assert _largest_fall(found) < 0.15


@pytest.mark.parametrize(
    "kind", [pytest.param(slow, marks=pytest.mark.slow) for slow in ("checks-2px", "dither", "text", "noise")]
    + ["gradient", "red", "dots"]
)  # fmt: skip
def test_every_cut_of_other_pictures_decodes(kind: str, model: CodecModel) -> None:
    """Conditional means are those of photographs: for others a byte more can be worse, at most by so much."""
    samples = KINDS[kind](25, 18)
    found = _cuts(samples, encode(Image.fromarray(samples), weights=model), model)
    assert min(found) > 4.5  # noise of black and white around grey, whatever is sent
    assert _largest_fall(found) < 4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["photograph", "checks-1px", "noise", "ramp"])
def test_a_cut_costs_less_than_eight_bytes_and_no_symbol_is_decoded_twice(
    kind: str, model: CodecModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cut of n bytes tells at least the symbols whose ideal code is n - 8 bytes long."""
    ideal: list[float] = []
    told = 0

    class Encoder(walk_module.RangeEncoder):
        def encode(self, symbols: np.ndarray, rows: np.ndarray) -> None:
            p = (np.broadcast_to(rows, (len(symbols), rows.shape[1])) + 1) / (1 << 24)
            ideal.extend((-np.log2(p[np.arange(len(symbols)), symbols])).tolist())
            super().encode(symbols, rows)

    class Counting(decoder_module.RangeDecoder):
        def decode(self, rows: np.ndarray) -> np.ndarray:
            nonlocal told
            symbols = super().decode(rows)
            told += len(symbols)
            return symbols

    monkeypatch.setattr(walk_module, "RangeEncoder", Encoder)
    monkeypatch.setattr(decoder_module, "RangeDecoder", Counting)
    image = Image.fromarray(KINDS[kind](64, 40))
    data = encode(image, weights=model, quality_table=False, effort=7, quality=95)
    header, start = info(data).header, info(data).header_bytes
    bits = np.cumsum([0, *ideal])
    assert bits[-1] / 8 <= header.code_bytes < bits[-1] / 8 + 8
    decoder = Decoder(weights=model)
    for at in range(len(data)):
        decoder.feed(data[at : at + 1])
        code_bytes = min(at + 1 - start, header.code_bytes)
        if code_bytes >= 0:
            decoder.latent()
            assert 8 * (code_bytes - 8) < bits[told]
    assert told == len(ideal)


def test_decoding_a_rate_is_decoding_the_truncated_file(small_ctc: bytes, model: CodecModel) -> None:
    assert decode(small_ctc, weights=model, bpp=0.4) == decode(truncate(small_ctc, bpp=0.4), weights=model)
    assert decode(small_ctc, weights=model, nbytes=77) == decode(small_ctc[:77], weights=model)


# --- bytes that arrive ------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 7, 1000, 1_000_000])
def test_pieces_of_any_size_give_the_same_image(step: int, cutout_ctc: bytes, model: CodecModel) -> None:
    decoder = Decoder(weights=model)
    for start in range(0, len(cutout_ctc), step):
        assert not decoder.complete
        decoder.feed(cutout_ctc[start : start + step])
    assert decoder.complete
    assert decoder.bytes_used == len(cutout_ctc)
    assert decoder.image() == decode(cutout_ctc, weights=model)
    assert decoder.latent().sha256() == latent_of(cutout_ctc, model).sha256()


def test_there_is_an_image_at_any_time_and_it_is_that_of_the_prefix(
    cutout_ctc: bytes, model: CodecModel
) -> None:
    start = info(cutout_ctc).header_bytes
    decoder, at = Decoder(weights=model), 0
    first = [*range(start + 2), start + 9, 60, 61, 62, 63, 64]
    for size in (*first, 200, 201, 202, 600, 4117, 4118, 4119, 9000, len(cutout_ctc)):
        decoder.feed(cutout_ctc[at:size])
        at = size
        if size < start:
            for show in (decoder.image, lambda size=size: decode(cutout_ctc[:size], weights=model)):
                with pytest.raises(FormatError, match="inside the header" if size else "empty"):
                    show()
            continue
        assert decoder.bytes_used == size
        assert decoder.complete == (size == len(cutout_ctc))
        assert decoder.latent().sha256() == latent_of(cutout_ctc[:size], model).sha256()
        if size in (start, start + 1, 64, 600, 9000):
            image = decoder.image()
            assert image == decode(cutout_ctc[:size], weights=model)
            assert image == decoder.image()


def test_a_latent_once_given_stays(small_ctc: bytes, model: CodecModel) -> None:
    decoder = fed(small_ctc[:600], model)
    latent = decoder.latent()
    before, value = latent.sha256(), latent.state.value.copy()
    decoder.feed(small_ctc[600:])
    assert decoder.latent().sha256() != before
    assert latent.sha256() == before
    assert np.array_equal(latent.state.value, value)


def test_a_latent_says_how_much_of_it_is_held(small_ctc: bytes, model: CodecModel) -> None:
    decoder = fed(small_ctc[:22], model)
    latent = decoder.latent()
    assert (latent.planes_held, latent.low_held, latent.slices) == (0, False, 0)
    held = []
    for start in range(22, len(small_ctc), 100):
        decoder.feed(small_ctc[start : start + 100])
        latent = decoder.latent()
        assert latent.low_held
        held.append(latent.planes_held)
    assert held == sorted(held)
    header = decoder.header
    assert latent.slices == header.slices
    assert header.planes - 2 < held[-1] < header.planes == latent.planes  # the file ends amid a plane


def test_a_finished_decoder_takes_no_more(small_ctc: bytes, model: CodecModel) -> None:
    decoder = fed(small_ctc[:700], model)
    decoder.finish()
    assert decoder.image() == decode(small_ctc[:700], weights=model)
    with pytest.raises(ValueError, match="finished"):
        decoder.feed(small_ctc[700:])


def test_what_is_no_file_of_these_weights_is_refused(small_ctc: bytes, model: CodecModel) -> None:
    huge = Header((1 << 24) - 1, (1 << 24) - 1, model.fingerprint, 100, planes=1, slices=1).to_bytes()
    for data, error, message in (
        (b"\x89PNG", FormatError, r"not a \.ctc"),
        (with_header(small_ctc, fingerprint=b"\0\1\2\3"), WeightsError, "other weights"),
        (huge, LimitError, "16777215x16777215"),  # before anything is allocated
        (small_ctc + b"more", DamageError, "4 bytes follow the end"),
    ):
        with pytest.raises(error, match=message):
            decode(data, weights=model)
        with pytest.raises(error, match=message):
            Decoder(weights=model).feed(data)
    refusing = Decoder(weights=model, max_pixels=100)
    with pytest.raises(LimitError):
        refusing.feed(small_ctc)
    assert not refusing.complete
    with pytest.raises(LimitError):
        refusing.image()
    with pytest.raises(FormatError, match="empty"):
        Decoder(weights=model).image()
    decoder = fed(small_ctc, model)
    with pytest.raises(DamageError, match="follow the end"):
        decoder.feed(b"more")


# --- damage -----------------------------------------------------------------------------------------


def test_damage_is_told_once_and_what_stands_before_it_stays_decodable(
    cutout_ctc: bytes, model: CodecModel
) -> None:
    data = changed(cutout_ctc, 4500, 1)
    with pytest.raises(DamageError, match="check sum"):
        fed(data, model)
    told: list[str] = []
    decoder = Decoder(weights=model, accept_damage=True, warn=told.append)
    for start in range(0, len(data), 500):
        decoder.feed(data[start : start + 500])
        if start in (4500, 8000):
            decoder.image()  # of bytes whose check sum has not come yet
    assert len(told) == 1
    assert not decoder.complete
    whole = info(cutout_ctc).header_bytes + BLOCK_BYTES
    assert decoder.bytes_used == whole
    assert decoder.image() == decode(cutout_ctc[:whole], weights=model)


def test_damage_leaves_no_decoder_behind(small_ctc: bytes, model: CodecModel) -> None:
    """Nor its arrays until the garbage is collected, which for large pictures may be much."""
    written = pack(info(small_ctc).header, b"\xff" * 400)
    gc.disable()
    try:
        for data in (changed(small_ctc, len(small_ctc) // 2, 1), written):
            decoder = Decoder(weights=model)
            with contextlib.suppress(DamageError):
                decoder.feed(data)
            left = weakref.ref(decoder)
            del decoder
            assert left() is None
    finally:
        gc.enable()


def _is_found(data: bytes, model: CodecModel) -> bool:
    """Whether checking, describing and decoding all find that a file is not whole and sound."""
    found = set()
    for look in (lambda: verify(parse(data)), lambda: decode(data, weights=model)):
        try:
            look()
            found.add(False)
        except FormatError:
            found.add(True)
    with contextlib.suppress(FormatError):
        found.add(not info(data).complete)
    (answer,) = found
    return answer


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_every_change_of_one_byte_is_found(mode: str, model: CodecModel) -> None:
    """In the header, the stream and the check sums, whatever the byte becomes."""
    image = Image.fromarray(photograph(24, 16)).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize((24, 16)))
    data = encode(image, weights=model)
    assert not _is_found(data, model)
    rng = random.Random(1)
    for position in range(len(data)):
        for flip in {*(1 << bit for bit in range(8)), 0xFF, *rng.sample(range(1, 256), 4)}:
            assert _is_found(changed(data, position, flip), model), (position, flip)


def test_a_code_word_that_no_encoder_writes_is_damage_that_can_be_accepted(
    small_ctc: bytes, model: CodecModel
) -> None:
    """Check sums are right: by someone who wrote them."""
    for code in (bytes(4), b"\xff" * 400, bytes(range(200))):
        data = pack(info(small_ctc).header, code)
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


@pytest.mark.parametrize(("planes", "slices"), [(1, 1), (0, 0), (10, 160), (7, 159)])
def test_headers_that_do_not_belong_to_their_code_are_no_crash(
    planes: int, slices: int, small_ctc: bytes, model: CodecModel
) -> None:
    for width, height, grey in ((90, 70, True), (16, 16, False), (200, 300, False)):
        fields = {"width": width, "height": height, "grey": grey, "planes": planes, "slices": slices}
        data = with_header(small_ctc, **fields)
        for accept_damage in (False, True):
            try:
                image = decode(data, weights=model, accept_damage=accept_damage)
            except DamageError:
                assert not accept_damage
            else:
                assert image.size == (width, height)


# --- transparency and metadata ----------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_exact_in_a_whole_file(mode: str, cutout: Image.Image, model: CodecModel) -> None:
    cutout = cutout.convert(mode)
    image = decode(encode(cutout, weights=model), weights=model)
    assert image.mode == mode
    assert image.getchannel("A").tobytes() == cutout.getchannel("A").tobytes()
    seen = pixels(cutout)[..., -1] > 0
    assert psnr(pixels(cutout)[seen][:, :-1], pixels(image)[seen][:, :-1]) > 34


@pytest.mark.slow
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


def test_metadata_come_back_after_the_first_useful_bytes(small: Image.Image, model: CodecModel) -> None:
    exif, xmp = b"MM\0*\0\0\0\x08\0\0\0\0\0\0", b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>" * 40
    data = encode(SourceImage(pixels(small), False, [], None, exif, xmp), weights=model)
    plain = encode(SourceImage(pixels(small), False, []), weights=model)
    image = decode(data, weights=model)
    assert (image.info["exif"], image.info["xmp"]) == (b"Exif\0\0" + exif, xmp)
    assert image.mode == "RGB"
    assert len(data) < len(plain) + 150
    first = 270
    assert decode(data[:first], weights=model).info == {}
    assert latent_of(data[:first], model).sha256() == latent_of(plain[:first], model).sha256()
    assert info(data).sections == ("quality table", "EXIF", "XMP")


_NO_LINEAR_ALGEBRA = """
import sys
import numpy as np
for name in ("solve", "inv", "det"):
    setattr(np.linalg, name, None)
import ctc_codec
ctc_codec.decode(open(sys.argv[1], "rb").read(), weights=ctc_codec.load_model(threads=1))
"""


def test_decoding_needs_no_linear_algebra() -> None:
    """Its library takes tens of megabytes, and where they are missing it ends the process."""
    golden = Path(__file__).parents[1] / "data" / "format" / "grey.ctc"
    subprocess.run([sys.executable, "-c", _NO_LINEAR_ALGEBRA, str(golden)], check=True)
