"""A seeded slice of fuzzing in plain Python, and every input that ever failed. See tests/fuzz.

How many inputs: ``executions`` of each surface, 22,000 in all; the same ones in every run. `make fuzz` runs
the same checks under atheris, for as long as one likes.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest

from ctc_codec import DamageError, Decoder
from ctc_codec.container import blocks, coder, sections
from ctc_codec.container.header import Header
from ctc_codec.image import transparency as _alpha
from fuzz import explore as exploring
from fuzz.ctc_files import Parts, lzma_raw, mutate_file, section, small_file
from fuzz.decoder import chance_file, hostile_file, model
from fuzz.explore import SURFACES, explore, keep, memory_limit, surface_of
from fuzz.hostile import FAULTS
from fuzz.mutate import mutate
from fuzz.surface import DATA, HANG_SECONDS, REGRESSIONS, Surface, require, time_limit
from reference import latent as reference_latent

SEED = 20
QUICK = ("header", "blocks", "sections", "coder")

REACHED = {
    "header": ("read", "HeaderCutError: cut", "DamageError: damaged header", "FormatError: impossible"),
    "container": ("complete 2,3,6", "cut 6", "damaged ", "complete other", "FormatError: damaged: a number"),
    "blocks": ("complete, 3", "complete, 0", "cut, 2", "damaged after 2", "too long, 1"),
    "sections": ("2, 3", "no table", ", table", "text", "FormatError: damaged: a number"),
    "coder": (
        *("as an encoder writes it, of 256", "whole, of 3"),
        *("open after some of 3", "open after none of 64"),
    ),
    "decoder": (
        *(
            "complete, all planes",
            "complete, into",
            ", by no encoder",
            "cut, into",
            "into the last plane",
            "cut, low",
        ),
        *("LimitError", "WeightsError", "damaged: the stream holds"),
        *("damaged: cells of", "damaged: a look", "without a threshold", "an empty slice"),
        *("too many slices", "slices are missing"),
    ),
    "reference_decoder": ("the same, complete, low band, 3", "the same, cut", "damaged: a look"),
    "image": (
        *("PNG RGB", "GIF", "TIFF", "PSD", "WEBP", "ICO", "TGA", "PPM", "BMP", "JPEG"),
        *("InputError", "LimitError"),
    ),
    "weights": ("works", "this machine does not", "weight: a sum may leave"),
    "plugin": ("loaded", "OSError, DamageError / loaded", "not identified"),
}
"""Outcomes that a slice must come to: without them it would not get behind the first checks."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in SURFACES],
)
def test_seeded_slice(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    surface = surface_of(name)
    report = explore(surface, surface.executions, SEED)
    monkeypatch.setattr(exploring, "REGRESSIONS", tmp_path)
    for data, trace in report.findings:
        print(f"put {keep(surface, data)} into {REGRESSIONS / name}:\n{trace}")
    assert not report.findings
    assert report.executions == surface.executions + len(surface.seeds())
    for word in REACHED[name]:
        assert any(word in outcome for outcome in report.outcomes), word


@pytest.mark.parametrize(
    ("name", "path"),
    [(name, path) for name in SURFACES for path in sorted((REGRESSIONS / name).glob("*"))],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_what_failed_once_does_not_fail_again(name: str, path: Path) -> None:
    with time_limit(HANG_SECONDS), memory_limit():
        surface_of(name).check(path.read_bytes())


# --- what fuzzing found -----------------------------------------------------------------------------


def test_a_section_that_is_repeated_is_not_unpacked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    # For a large image each takes seconds and 440 bytes: a file of 100 kB would take minutes.
    calls = 0

    def unpack_rough(*arguments: object) -> None:
        nonlocal calls
        calls += 1

    monkeypatch.setattr(_alpha, "unpack_rough", unpack_rough)
    rough = section(2, lzma_raw(bytes(4)))
    decoder = Decoder(weights=model())
    # No planes, and cut before its end, so that the random code word is as good as any.
    decoder.feed(small_file(random.Random(4), 900, 9 * rough, flags=2, planes=0, slices=0)[:-3])
    assert decoder.image().mode == "RGBA"
    assert calls == 1


# --- the harness itself -----------------------------------------------------------------------------


def test_golden_files_are_put_together_as_they_were() -> None:
    for path in sorted(DATA.glob("*.ctc")):
        data = path.read_bytes()
        assert Parts.of(data).to_bytes() == data
        parts = Parts.of(data)
        parts.mix(*parts.unmixed())
        assert parts.to_bytes() == data
        for cut in range(30, len(data) - 2, 17):
            assert Parts.of(data[:cut]).to_bytes() == data[:cut]


def test_codes_of_chance_lead_through_all_planes() -> None:
    for grey, planes in ((False, 4), (True, 10)):
        decoder = Decoder(weights=model())
        decoder.feed(chance_file(random.Random(planes), (30, 20), planes, 160, grey))
        latent = decoder.latent()
        assert decoder.complete
        assert latent.planes_held == planes
        assert np.abs(latent.state.value).max() > 3


@pytest.mark.parametrize("fault", FAULTS)
def test_hostile_files_lead_to_the_fault_that_they_are_meant_for(fault: str) -> None:
    words = {
        "skips": "cells of a level that is asleep",
        "looks": "a look at a level that is asleep",
        "no threshold": "a slice without a threshold",
        "empty": "an empty slice",
        "unfinished": "too many slices in a plane",
        "missing": "slices are missing after the last plane",
    }
    reached = 0
    for number in range(6):
        decoder = Decoder(weights=model())
        with pytest.raises(DamageError) as raised:
            decoder.feed(hostile_file(random.Random(number), fault, most_pixels=100))
        reached += words[fault] in str(raised.value)
    assert reached > 2


def test_hostile_files_without_a_fault_are_whole_and_hold_many_slices() -> None:
    slices = []
    for number in (2, 7, 70, 110):
        decoder = Decoder(weights=model())
        decoder.feed(hostile_file(random.Random(number), None))
        slices.append(decoder.latent().slices)
        assert decoder.complete
    assert max(slices) > 100


def _wrong_damage(reader: blocks.Unframer, what: str) -> None:
    reader.damage = "damaged"


def _one_more(decoder: coder.RangeDecoder, frequencies: np.ndarray) -> np.ndarray:
    return np.zeros(len(frequencies), np.int32)


@pytest.mark.parametrize(
    ("name", "owner", "part", "wrong"),
    [
        ("blocks", blocks.Unframer, "_damaged", _wrong_damage),
        ("blocks", blocks, "_CRC_START", 0),
        ("sections", sections, "PIECE", 255),
        ("coder", coder.RangeDecoder, "_decode_chunk", _one_more),
        ("reference_decoder", reference_latent, "_UNIFORM", [21846, 21845, 21845]),
        ("reference_decoder", reference_latent, "_MOST_SLICES", 3),
    ],
)
def test_a_defect_is_found(
    name: str, owner: object, part: str, wrong: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, part, wrong)
    assert explore(surface_of(name), 60, most_findings=1).findings


def test_mutations_get_past_the_check_sums() -> None:
    rng = random.Random(1)
    data, passed = (DATA / "extras.ctc").read_bytes(), 0
    for _ in range(200):
        try:
            Header.parse(mutate_file(data, rng, lambda old: mutate(old, rng)))
            passed += 1
        except Exception:
            continue
    assert 100 < passed < 198


def test_the_same_seed_gives_the_same_inputs() -> None:
    surface = surface_of("header")
    first, again, other = (explore(surface, 300, seed).outcomes for seed in (1, 1, 2))
    assert first == again != other
    assert len({tuple(surface_of("weights").seeds()) for _ in range(5)}) == 1


def test_broken_promises_hangs_memory_and_foreign_exceptions_are_found_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exploring, "REGRESSIONS", tmp_path)
    monkeypatch.setattr(exploring, "HANG_SECONDS", 0.2)
    for check, what in (
        (lambda data: require(False, "a promise"), "a promise"),
        (lambda data: time.sleep(5), "Hang"),
        (lambda data: np.ones(1 << 31, np.uint8), "MemoryError"),
        (lambda data: {}[data], "KeyError"),
    ):
        surface = Surface("none", lambda: [b"seed"], check, lambda data, rng, plain: plain(data), 1)
        report = explore(surface, 2)
        assert len(report.findings) == 3
        assert all(what in trace for _, trace in report.findings)
        path = keep(surface, report.findings[0][0])
        assert path.parent == tmp_path / "none"
        assert path.read_bytes() == b"seed"
    monkeypatch.setattr(Header, "file_position", lambda self, position: position)
    assert "file position" in explore(surface_of("header"), 50).findings[0][1]
