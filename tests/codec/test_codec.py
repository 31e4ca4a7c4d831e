"""Encode and decode as a whole: any picture, any cut, any target; what the float side may not do."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ctc_codec
from ctc_codec import (
    CodecModel,
    CtcError,
    DecodedLatent,
    Decoder,
    Header,
    decode,
    encode,
    load_model,
    truncate,
)
from ctc_codec.codec import decoder as decoder_module
from ctc_codec.codec import walk as stream_module
from ctc_codec.codec.options import psnr_of_quality
from ctc_codec.codec.picture import reconstruct
from ctc_codec.planes.state import State
from ctc_codec.planes.trits import unit
from ctc_codec.synthesis.network import COLOURS, LIMIT, SCALE, SynthesisNetwork
from ctc_codec.transform.lifting import LEVELS, analyse
from support.pictures import KINDS, Samples, photograph, psnr

SIZES = ((130, 97), (64, 64), (17, 30))


@pytest.fixture(scope="module")
def model() -> CodecModel:
    return load_model(threads=1)


def _latent(data: bytes, model: CodecModel) -> DecodedLatent:
    decoder = Decoder(weights=model)
    decoder.feed(data)
    return decoder.latent()


def _samples(image: Image.Image, like: Samples) -> Samples:
    """Of the same shape as ``like``: pictures of grey are stored in either way."""
    samples = np.asarray(image)
    return samples if samples.ndim == like.ndim else np.broadcast_to(samples[..., None], like.shape)


def _decoded(samples: Samples, model: CodecModel, **options: Any) -> tuple[float, int]:
    """PSNR and bytes of a file."""
    data = encode(Image.fromarray(samples), weights=model, **options)
    image = decode(data, weights=model)
    assert image.size == (samples.shape[1], samples.shape[0])
    grey = samples.ndim == 2 or (samples == samples[..., :1]).all()
    assert image.mode == ("L" if grey else "RGB")
    return psnr(samples, _samples(image, samples)), len(data)


# --- pictures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_any_picture_comes_back_as_good_as_asked(kind: str, model: CodecModel) -> None:
    """All planes give 49 dB at least: units of 8/3 leave 49.8 dB of white errors, borders a little less."""
    for width, height in SIZES:
        samples = KINDS[kind](width, height)
        assert _decoded(samples, model)[0] > 39.99, (width, height)
        assert _decoded(samples, model, quality=100)[0] > 49.0, (width, height)


def test_any_size_comes_back_as_good_as_asked(model: CodecModel) -> None:
    rng = np.random.default_rng(5)
    sizes = [*itertools.product(range(1, 6), range(1, 6)), (1, 130), (97, 1), (3, 65), (9, 64), (33, 8)]
    for height, width in sizes:
        colour = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        grey = (rng.integers(0, 2, (height, width)) * 255).astype(np.uint8)
        for samples in (colour, grey):
            assert _decoded(samples, model)[0] > 39.99, (height, width)
            assert _decoded(samples, model, quality=100)[0] > 46.0, (height, width)


def test_a_soft_target_is_met_by_every_quality(model: CodecModel) -> None:
    """Of photographs and text more quality is more bytes and more dB."""
    for kind in ("photograph", "text", "noise"):
        samples = KINDS[kind](120, 90)
        found = [(_decoded(samples, model, quality=q), q) for q in (1, 20, 40, 60, 75, 85, 92, 97, 100)]
        assert all(db >= psnr_of_quality(q) for (db, _), q in found[:-1])
        for (worse, less), (better, more) in itertools.pairwise(each for each, _ in found):
            assert better > worse
            assert more > less


def test_a_grey_picture_costs_less_than_its_colour_version(model: CodecModel) -> None:
    image = Image.fromarray(photograph(130, 97))
    assert len(encode(image.convert("L"), weights=model)) < 0.8 * len(encode(image, weights=model))


# --- cuts -------------------------------------------------------------------------------------------


def _assert_prefix(short: DecodedLatent, long: DecodedLatent) -> None:
    """The longer one goes on from where the shorter one stands."""
    assert short.slices <= long.slices
    assert short.planes_held <= long.planes_held
    assert long.low_held >= short.low_held
    for a, a_plane, known, b, b_plane in (
        (short.state.value, short.state.plane, short.state.known, long.state.value, long.state.plane),
        (short.state.low, short.state.low_plane, short.state.low_known, long.state.low, long.state.low_plane),
    ):
        if not short.low_held:
            continue
        finer = 3 ** (a_plane - b_plane)
        reach = np.where(known, finer // 2, (3 * finer) // 2)
        assert (np.abs(a.astype(np.int64) * finer - b) <= reach).all()


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
            _assert_prefix(before, latent)
        before = latent
        found.append(psnr(samples, _samples(decoder.image(), samples)))
    assert decoder.complete
    assert before is not None
    assert before.slices == Header.parse(data)[0].slices
    assert before.state.known.all() or before.planes_held < before.planes
    return found


def _largest_fall(found: list[float]) -> float:
    finite = np.minimum(found, 99.0)
    return float((np.maximum.accumulate(finite) - finite).max())


def test_every_cut_of_a_photograph_is_as_good_as_the_one_before(model: CodecModel) -> None:
    """To within 0.35 dB, where a plane begins: means in whole intervals come from new densities then."""
    for samples in (photograph(48, 40), photograph(45, 37)[..., 1]):
        found = _cuts(samples, encode(Image.fromarray(samples), weights=model), model)
        assert _largest_fall(found) < 0.35
        assert found[-1] > 39.99


def test_coarser_cuts_of_a_larger_photograph(model: CodecModel) -> None:
    samples = photograph(300, 220)
    data = encode(Image.fromarray(samples), weights=model, effort=7, quality=97)
    found = _cuts(samples, data, model, step=max(len(data) // 100, 1))
    assert _largest_fall(found) < 0.15


@pytest.mark.parametrize("kind", ["checks-2px", "dither", "text", "noise", "gradient", "red", "dots"])
def test_every_cut_of_other_pictures_decodes(kind: str, model: CodecModel) -> None:
    """Conditional means are those of photographs: for others a byte more can be worse, at most by so much."""
    samples = KINDS[kind](25, 18)
    found = _cuts(samples, encode(Image.fromarray(samples), weights=model), model)
    assert min(found) > 4.5  # noise of black and white around grey, whatever is sent
    assert _largest_fall(found) < 4


def test_a_cut_file_is_what_a_decoder_fed_so_far_knows(model: CodecModel) -> None:
    samples = photograph(60, 44)
    data = encode(Image.fromarray(samples), weights=model)
    start = Header.parse(data)[1]
    decoder, at = Decoder(weights=model), 0
    for cut in (start, start + 1, start + 9, 60, 61, 62, 63, 64, 200, 500, len(data) - 1, len(data)):
        decoder.feed(data[at:cut])
        at = cut
        assert decoder.latent().sha256() == _latent(data[:cut], model).sha256()
        assert decoder.image() == decode(data[:cut], weights=model)
    for cut in range(start):
        with pytest.raises(ctc_codec.FormatError):
            decode(data[:cut], weights=model)


@pytest.mark.parametrize("kind", ["photograph", "checks-1px", "noise", "ramp"])
def test_a_cut_costs_less_than_eight_bytes(
    kind: str, model: CodecModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cut of n bytes tells at least the symbols whose ideal code is n - 8 bytes long."""
    ideal: list[float] = []
    told = 0

    class Encoder(stream_module.RangeEncoder):
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

    monkeypatch.setattr(stream_module, "RangeEncoder", Encoder)
    monkeypatch.setattr(decoder_module, "RangeDecoder", Counting)
    samples = KINDS[kind](64, 40)
    data = encode(Image.fromarray(samples), weights=model, quality_table=False, effort=7, quality=95)
    header, start = Header.parse(data)
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


def test_no_symbol_is_decoded_twice(model: CodecModel, monkeypatch: pytest.MonkeyPatch) -> None:
    told = 0

    class Counting(decoder_module.RangeDecoder):
        def decode(self, rows: np.ndarray) -> np.ndarray:
            nonlocal told
            symbols = super().decode(rows)
            told += len(symbols)
            return symbols

    monkeypatch.setattr(decoder_module, "RangeDecoder", Counting)
    data = encode(Image.fromarray(photograph(80, 60)), weights=model)
    _latent(data, model)
    at_once, told = told, 0
    decoder = Decoder(weights=model)
    for start in range(0, len(data), 30):
        decoder.feed(data[start : start + 30])
        decoder.latent()
    assert told == at_once > 1000


def test_a_byte_more_or_less_at_the_end_of_a_stream(model: CodecModel) -> None:
    data = encode(Image.fromarray(photograph(48, 48)), weights=model)
    with pytest.raises(ctc_codec.DamageError, match="follow the end"):
        decode(data + b"\0", weights=model)
    assert decode(data[:-1], weights=model).size == (48, 48)


# --- targets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["photograph", "noise", "ramp", "checks-1px", "red"])
def test_targets_are_kept(kind: str, model: CodecModel) -> None:
    samples = KINDS[kind](130, 97)
    image = Image.fromarray(samples)
    whole = encode(image, weights=model, quality=100)
    for nbytes in (21, 40, 61, 300, 1001, 1_000_000):
        data = encode(image, weights=model, nbytes=nbytes)
        assert len(data) <= nbytes
        assert decode(data, weights=model).size == image.size
        if nbytes < len(whole):
            assert len(data) == nbytes or len(data) == Header.parse(data)[0].file_bytes
    for bpp in (0.03, 0.5, 2.0, 1000.0):
        assert 8 * len(encode(image, weights=model, bpp=bpp)) / (130 * 97) <= bpp
    for target in (21.0, 30.0, 37.7, 45.0):
        assert _decoded(samples, model, psnr=target)[0] >= target


def test_a_psnr_takes_no_more_bytes_than_the_cut_that_has_it(model: CodecModel) -> None:
    samples = photograph(130, 97)
    image = Image.fromarray(samples)
    whole = encode(image, weights=model, quality=100, effort=1)
    for target in (30.0, 40.0):
        data = encode(image, weights=model, psnr=target, effort=1)
        small = encode(image, weights=model, nbytes=int(0.95 * len(data)), effort=1)
        assert psnr(samples, np.asarray(decode(small, weights=model))) < target
        assert len(data) < len(whole)


def test_targets_that_cannot_be_met_are_refused(model: CodecModel) -> None:
    image = Image.fromarray(photograph(50, 40))
    with pytest.raises(ctc_codec.TargetError, match="out of reach"):
        encode(image, weights=model, psnr=80)
    with pytest.raises(ctc_codec.TargetError, match="header"):
        encode(image, weights=model, nbytes=5)
    for bpp in (0, -1, float("inf")):
        with pytest.raises(ctc_codec.TargetError, match="bpp must be positive"):
            encode(image, weights=model, bpp=bpp)
    with pytest.raises(ValueError, match="at most one"):
        encode(image, weights=model, nbytes=500, bpp=1)
    for quality in (0, 100.5, float("nan")):
        with pytest.raises(ValueError, match="quality is 1 to 100"):
            encode(image, weights=model, quality=quality)
    for effort in (0, 10, 2.5):
        with pytest.raises(ValueError, match="effort is 1 to 9"):
            encode(image, weights=model, effort=effort)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "target", [{"psnr": float("nan")}, {"psnr": 5e4}, {"psnr": -5e4}, {"bpp": float("nan")}]
)
def test_targets_that_are_no_numbers_of_use_end_in_one_of_our_errors(
    target: dict[str, float], model: CodecModel
) -> None:
    with pytest.raises(ctc_codec.TargetError):
        encode(Image.fromarray(photograph(20, 20)), weights=model, **target)  # type: ignore[arg-type]


def test_decoding_a_rate_is_decoding_the_truncated_file(model: CodecModel) -> None:
    data = encode(Image.fromarray(photograph(96, 64)), weights=model)
    assert decode(data, weights=model, bpp=0.4) == decode(truncate(data, bpp=0.4), weights=model)
    assert decode(data, weights=model, nbytes=77) == decode(data[:77], weights=model)


# --- efforts and switches ---------------------------------------------------------------------------


def test_more_effort_makes_more_slices_and_smaller_files(model: CodecModel) -> None:
    samples = photograph(260, 200)
    image = Image.fromarray(samples)
    sizes, slices = [], []
    for effort in range(1, 10):
        data = encode(image, weights=model, effort=effort, quality=97)
        sizes.append(len(data))
        slices.append(Header.parse(data)[0].slices)
        assert psnr(samples, np.asarray(decode(data, weights=model))) > psnr_of_quality(97) - 1e-9
    assert slices == sorted(slices)
    assert slices[-1] > 2 * slices[0]
    assert sizes[-1] < sizes[0]


def test_without_context_files_are_larger_and_decode(model: CodecModel) -> None:
    samples = photograph(130, 97)
    image = Image.fromarray(samples)
    plain = encode(image, weights=model, context=False, quality=95)
    assert psnr(samples, np.asarray(decode(plain, weights=model))) > psnr_of_quality(95)
    assert len(plain) > 1.1 * len(encode(image, weights=model, quality=95))


def test_encoding_is_repeatable(model: CodecModel) -> None:
    image = Image.fromarray(photograph(80, 64))
    assert len({encode(image, weights=weights) for weights in (model, model, load_model(threads=2))}) == 1


def test_refining_is_what_photographs_gain_by(model: CodecModel) -> None:
    samples = photograph(130, 97)
    data = encode(Image.fromarray(samples), weights=model)
    for cut in (1000, 4000, len(data)):
        refined, plain = (
            psnr(samples, np.asarray(decode(data[:cut], weights=model, refine=refine)))
            for refine in (True, False)
        )
        assert refined > plain + 0.05


# --- the synthesis network may not contradict a file ------------------------------------------------


class _Network(SynthesisNetwork):
    """A synthesis network without weights that gives noise of so many times the most that is used of it."""

    def __init__(self, strength: float) -> None:
        self.halo, self._strength = 2, strength
        self.session = self  # type: ignore[assignment]

    def run(self, inputs: np.ndarray) -> np.ndarray:
        _, _, height, width = inputs.shape
        noise = np.random.default_rng(1).uniform(-LIMIT, LIMIT, (1, COLOURS * SCALE**2, height, width))
        return (self._strength * noise).astype(np.float32)


def _distance(planes: np.ndarray, state: State) -> float:
    """How far the coefficients of planes are outside of the intervals that are known, at most, in units."""
    low, details = analyse(planes)
    parts = [(low, state.low, state.low_known, unit(state.low_plane))]
    for level in range(LEVELS):
        value, known = state.level(state.value, level), state.level(state.known, level)
        parts.append((details[level], value, known, unit(state.plane)))
    return max(
        float((np.abs(found / size - value) - np.where(known, 0.5, 1.5)).max())
        for found, value, known, size in parts
    )


@pytest.mark.parametrize("grey", [False, True])
def test_no_network_makes_a_picture_that_contradicts_the_file(
    grey: bool, model: CodecModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Correction by up to four units, and yet every coefficient is in its interval."""
    samples = photograph(128, 64)[..., 0] if grey else photograph(128, 64)
    data = encode(Image.fromarray(samples), weights=model)
    plain = psnr(samples, np.asarray(decode(data, weights=model)))
    monkeypatch.setattr(model, "synthesis", _Network(1.0))
    state = _latent(data, model).state
    planes = reconstruct(state, model, (64, 128))
    assert _distance(planes, state) < 0.01
    assert _distance(reconstruct(state, model, (64, 128), synthesis=False), state) < 0.01
    assert plain - 12 < psnr(samples, np.asarray(decode(data, weights=model))) < plain - 1
    assert psnr(samples, np.asarray(decode(data, weights=model, synthesis=False))) == plain


def test_numbers_that_are_not_finite_are_no_picture(
    model: CodecModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode(Image.fromarray(photograph(32, 20)), weights=model)
    monkeypatch.setattr(model, "synthesis", _Network(float("nan")))
    with pytest.raises(CtcError, match="not finite"):
        decode(data, weights=model)


# --- what is refused --------------------------------------------------------------------------------


def test_files_of_other_weights_are_refused(model: CodecModel) -> None:
    data = encode(Image.fromarray(photograph(20, 20)), weights=model)
    header, start = Header.parse(data)
    other = Header(
        20, 20, b"\0\1\2\3", header.code_bytes, extras_bytes=header.extras_bytes, planes=1, slices=1
    )
    with pytest.raises(ctc_codec.WeightsError, match="other weights"):
        decode(other.to_bytes() + data[start:], weights=model)


def test_too_many_pixels_are_refused_before_anything_is_allocated(model: CodecModel) -> None:
    header = Header((1 << 24) - 1, (1 << 24) - 1, model.fingerprint, 100, planes=1, slices=1).to_bytes()
    with pytest.raises(ctc_codec.LimitError):
        decode(header, weights=model)
    image = Image.fromarray(photograph(30, 30))
    with pytest.raises(ctc_codec.LimitError):
        encode(image, weights=model, max_pixels=899)
    assert encode(image, weights=model, max_pixels=900)


@pytest.mark.parametrize(
    ("mode", "decoded"), [("1", "L"), ("P", "RGB"), ("CMYK", "RGB"), ("RGBA", "RGBA"), ("LA", "LA")]
)
def test_other_modes_are_converted(mode: str, decoded: str, model: CodecModel) -> None:
    image = Image.fromarray(photograph(32, 32)).convert("L" if mode in ("1", "LA") else "RGB").convert(mode)
    if mode.endswith("A"):
        assert decode(encode(image, weights=model), weights=model).mode == decoded[:-1]  # opaque
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    assert decode(encode(image, weights=model), weights=model).mode == decoded


def test_floating_point_images_are_refused(model: CodecModel) -> None:
    with pytest.raises(ctc_codec.InputError, match="floating-point"):
        encode(Image.fromarray(np.zeros((4, 4), np.float32)), weights=model)


def test_public_names() -> None:
    assert set(ctc_codec.__all__) >= {"encode", "decode", "truncate", "info", "CtcError"}
    assert all(getattr(ctc_codec, name) is not None for name in ctc_codec.__all__)
    for name in ("InputError", "FormatError", "DamageError", "WeightsError", "LimitError", "TargetError"):
        assert issubclass(getattr(ctc_codec, name), CtcError)
