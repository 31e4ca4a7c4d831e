"""The golden files decode to their hashes, and FORMAT.md, followed with Python integers alone (the package
``reference``), gives the codec's latents."""

from __future__ import annotations

import functools
import hashlib
import json
import random
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ctc_codec import DamageError, Decoder, FormatError, Header, decode, encode, load_model
from ctc_codec.codec.decoder import DecodedLatent
from ctc_codec.codec.model import default_weights
from ctc_codec.codec.walk import Elements, Walk, Writer, run
from ctc_codec.container.blocks import frame
from ctc_codec.container.file import split_stream, unframe
from ctc_codec.planes import low
from ctc_codec.planes.state import State
from ctc_codec.planes.trits import VALUE_LIMIT
from golden import FOLDER, golden, latent_sha256
from reference import container, latent
from reference.look import rounded
from reference.weights import Weights

HERE = Path(__file__).parents[1]
HASHES: dict[str, dict[str, str]] = json.loads((FOLDER / "hashes.json").read_text())

_weights = functools.cache(lambda: Weights(default_weights()))


def _file(name: str) -> bytes:
    return (FOLDER / f"{name}.ctc").read_bytes()


def _reference(data: bytes) -> latent.State:
    return latent.decode(container.read(data), _weights())


def _decoded(data: bytes) -> DecodedLatent:
    decoder = Decoder(weights=load_model())
    decoder.feed(data)
    decoder.finish()
    return decoder.latent()


def _assert_same(known: latent.State, decoded: DecodedLatent) -> None:
    state = decoded.state
    assert (known.plane, known.low_plane) == (state.plane, state.low_plane)
    assert (known.slices, known.low_held) == (decoded.slices, decoded.low_held)
    for name in ("low", "low_known", "value", "known", "row"):
        assert getattr(known, name) == getattr(state, name).reshape(-1).tolist(), name
    assert known.sha256() == decoded.sha256()


# --- golden files -----------------------------------------------------------------------------------


def test_golden_files_are_all_that_there_are() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.ctc")) == sorted(HASHES) == sorted(golden())
    headers = {name: Header.parse(_file(name))[0] for name in HASHES}
    assert {header.fingerprint for header in headers.values()} == {load_model().fingerprint}
    assert headers["grey"].grey
    assert headers["extras"].alpha
    assert headers["one-pixel"].planes == 0
    assert headers["slices"].slices > headers["slices"].planes + 3


@pytest.mark.parametrize("name", HASHES)
def test_codec_decodes_golden_files_at_every_cut(name: str) -> None:
    data = _file(name)
    assert {cut: latent_sha256(data[: int(cut)], load_model()) for cut in HASHES[name]} == HASHES[name]


@pytest.mark.parametrize("name", HASHES)
def test_bytes_that_arrive_one_by_one_give_the_golden_latents(name: str) -> None:
    data, decoder, found = _file(name), Decoder(weights=load_model()), {}
    for at in range(len(data)):
        decoder.feed(data[at : at + 1])
        if str(at + 1) in HASHES[name]:
            found[str(at + 1)] = decoder.latent().sha256()
    assert found == HASHES[name]


@pytest.mark.parametrize("name", HASHES)
def test_reference_decoder_agrees_at_every_golden_cut(name: str) -> None:
    data = _file(name)
    found = {cut: _reference(data[: int(cut)]) for cut in HASHES[name]}
    assert {cut: known.sha256() for cut, known in found.items()} == HASHES[name]
    assert found[min(found, key=int)].ends
    assert not found[str(len(data))].ends


@pytest.mark.parametrize("name", HASHES)
def test_encoder_writes_the_golden_bytes(name: str) -> None:
    """An encoder decides by floats, which are no part of the format: where this alone fails, another machine
    has decided otherwise."""
    each = golden()[name]
    assert encode(each.source, weights=load_model(), **each.options) == _file(name)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_files_of_older_versions_are_refused_by_name(version: int) -> None:
    data = bytearray(_file("odd"))
    data[4] = version
    with pytest.raises(
        FormatError, match=f"^format {version} is not read any more: encode the original again$"
    ):
        decode(bytes(data), weights=load_model())


# --- other streams ----------------------------------------------------------------------------------


class _ChanceGuide:
    """Decides by chance, also what no encoder would: values of any size, levels that fall asleep again."""

    def __init__(self, seed: int, slices: int, state: State) -> None:
        self._rng = np.random.default_rng(seed)
        self._left = slices
        self._low: np.ndarray | None = None
        self._shape = state.low.shape
        self._trits = np.zeros(state.count, np.int32)
        self._awake = 0

    @property
    def ended(self) -> bool:
        return self._left == 0

    def low(self, plane: int) -> np.ndarray:
        if self._low is not None:
            self._low = 3 * self._low + self._rng.integers(-1, 2, self._shape, dtype=np.int32)
            return self._low
        most = (3 ** low.digits_at(plane) - 1) // 2
        first = self._rng.integers(-most // 3, most + 1, self._shape, dtype=np.int32)
        first[..., 0] = first[..., 0].cumsum(axis=1)
        first = first.cumsum(axis=2, dtype=np.int32)
        self._low = first.clip(-VALUE_LIMIT, VALUE_LIMIT)
        return first

    def awake(self, plane: int) -> int:
        often = self._rng.choice([0.005, 0.3, 1])
        chosen = self._rng.random(len(self._trits)) < often
        self._trits = (self._rng.integers(-1, 2, len(chosen)) * chosen).astype(np.int32)
        self._awake = int(self._rng.integers(1, 64))
        return self._awake

    def looks(self, walk: Walk, number: int) -> int:
        return int(self._rng.integers(64)) & self._awake

    def threshold(self, walk: Walk, number: int) -> int:
        chosen = 1 if number > 4 else int(self._rng.choice([1, 5, 60, 150, 255]))
        return min(chosen, int(walk.classes.max()))  # a slice is never empty

    def trits(self, walk: Walk, elements: Elements) -> np.ndarray:
        return self._trits[elements] + 1

    def after_slice(self, walk: Walk) -> None:
        self._left -= 1


def _chance_file(seed: int, width: int, height: int, grey: bool, planes: int, slices: int) -> bytes:
    model, size, colours = load_model(), (height, width), 1 if grey else 3
    writer = Writer()
    walk = Walk(model, size, colours, planes, writer)
    walk = Walk(model, size, colours, planes, writer, _ChanceGuide(seed, slices, walk.state))
    run(walk)
    code = writer.encoder.finish()
    header = Header(width, height, model.fingerprint, len(code), grey, planes=planes, slices=walk.slices)
    return header.to_bytes() + frame(code)


@pytest.mark.parametrize(
    ("width", "height", "grey", "planes", "slices"),
    [
        (20, 12, False, 10, 22),
        (9, 30, True, 10, 30),
        (900, 1, True, 3, 12),
        (70, 70, False, 1, 3),
        (33, 31, False, 4, 9),
    ],
)
def test_reference_decoder_agrees_on_streams_of_chance(
    width: int, height: int, grey: bool, planes: int, slices: int
) -> None:
    data = _chance_file(width, width, height, grey, planes, slices)
    start = Header.parse(data)[1]
    for cut in (*random.Random(width).sample(range(start, len(data)), 4), len(data)):
        _assert_same(_reference(data[:cut]), _decoded(data[:cut]))


def _changed_header(data: bytes, **changes: int) -> bytes:
    header, start = Header.parse(data)
    stream = unframe(data, header, start).data
    fields = {name: getattr(header, name) for name in header.__dataclass_fields__} | changes
    return Header(**fields).to_bytes() + frame(stream)


@pytest.mark.parametrize("changes", [{"slices": 160}, {"planes": 9}, {"width": 999}], ids=str)
def test_streams_that_no_encoder_writes_are_damaged(changes: dict[str, int]) -> None:
    data = _changed_header(_file("odd"), **changes)
    with pytest.raises(DamageError):
        _decoded(data)
    with pytest.raises(ValueError, match="damaged"):
        _reference(data)


# --- parts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["extras", "slices"])
def test_cut_and_damaged_files_hold_the_same_bytes(name: str) -> None:
    data = _file(name)
    header, start = Header.parse(data)
    rng = random.Random(3)
    variants = [data[:cut] for cut in (start, *range(start + 1, len(data), 97))]
    edges = (start + 4094, start + 4096, start + 8190, start + 8192, len(data) - 2, len(data))
    variants += [data[: edge + d] for edge in edges for d in (-1, 0, 1) if edge + d <= len(data)]
    for _ in range(30):
        bad = bytearray(data)
        bad[rng.randrange(start, len(data))] ^= 1 << rng.randrange(8)
        variants += [bytes(bad), bytes(bad[: rng.randrange(start, len(data))])]
    damaged = 0
    for variant in [*variants, data + b"\0"]:
        file, expected = container.read(variant), unframe(variant, header, start)
        assert (file.code, file.extras) == split_stream(expected.data, header)
        assert file.damaged == (expected.damage is not None)
        damaged += file.damaged
    assert damaged > 30


def test_reference_decoder_finds_the_extras() -> None:
    data = _file("extras")
    sections = container.sections(container.read(data).extras)
    assert sorted(sections) == [1, 2, 3, 4, 5]
    assert len(sections[1]) == 14
    image = decode(data, weights=load_model())
    assert image.mode == "RGBA"
    assert image.getchannel("A").tobytes() == container.alpha(sections[3], image.width)
    expected = json.loads((FOLDER / "extras.json").read_text())
    assert hashlib.sha256(image.getchannel("A").tobytes()).hexdigest() == expected["alpha"]
    for kind, name in ((4, "exif"), (5, "xmp")):
        assert zlib.decompress(sections[kind]) == image.info[name] == bytes.fromhex(expected[name])


def test_rounding_is_to_the_nearest_and_of_halves_to_even() -> None:
    for bits in range(-2, 12):
        for value in range(-5000, 5000, 7):
            assert rounded(value, bits) == round(value / 2**bits)


# --- the program ------------------------------------------------------------------------------------

_RUN = """
import runpy, sys
before = set(sys.modules)
sys.argv[0] = "reference"
runpy.run_module("reference", run_name="__main__")
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))
forbidden = {"torch", "numpy", "onnxruntime", "constriction", "safetensors", "ctc_codec"}
print(*forbidden.intersection(sys.modules))
"""


def test_the_program_needs_the_standard_library_alone() -> None:
    command = [sys.executable, "-c", _RUN, str(FOLDER / "grey.ctc"), str(default_weights())]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True)
    *told, loaded, forbidden = done.stdout.split("\n")[:-1]
    assert loaded == "reference"
    assert forbidden == ""
    size = str((FOLDER / "grey.ctc").stat().st_size)
    assert told[0].split()[1] == "33x17"
    assert told[-1].split() == ["sha256", HASHES["grey"][size]]


def _unusable() -> Iterator[tuple[bytes, Path]]:
    data, good = _file("grey"), default_weights()
    yield b"hello", good
    yield data[:10], good
    yield data[:7] + b"\x20" + data[8:], good
    yield _changed_header(data, fingerprint=b"\0\0\0\0"), good  # type: ignore[arg-type]
    yield data, FOLDER / "hashes.json"


def test_the_program_refuses_what_it_cannot_decode(tmp_path: Path) -> None:
    for content, weights in _unusable():
        (tmp_path / "file.ctc").write_bytes(content)
        command = [sys.executable, "-m", "reference", str(tmp_path / "file.ctc"), str(weights)]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
