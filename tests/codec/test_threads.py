"""The Python API from many threads at once: the same bytes and pixels as from one."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ctc_codec

MakePhoto = Callable[..., Image.Image]

THREADS = 8


def _together(works: list[Callable[[], Any]]) -> list[Any]:
    """Run all, from the same moment on; return their results in order."""
    gate = threading.Barrier(len(works))

    def begin(work: Callable[[], Any]) -> Any:
        gate.wait(60)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(begin, works))


@pytest.fixture(scope="module")
def images(make_photo: MakePhoto) -> list[Image.Image]:
    """One for each thread: large enough for threads of its own, even, odd and tiny, grey, transparent, of 16
    bits."""
    clear = make_photo(61, 47, 5)
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    grey = make_photo(50, 33, 6)
    deep = Image.fromarray(np.asarray(grey.convert("L")).astype(np.uint16) * 257)
    return [
        make_photo(240, 200, 1),
        make_photo(95, 63, 2).convert("L"),
        clear,
        make_photo(1, 1, 3),
        make_photo(17, 100, 4),
        clear.convert("LA"),
        deep,
        make_photo(64, 96, 7).convert("P"),
    ]


def _round(image: Image.Image, model: ctc_codec.CodecModel) -> tuple[Any, ...]:
    """All that the API does, of one image: bytes, and pixels of the whole, of prefixes and of a thumbnail."""
    data = ctc_codec.encode(image, weights=model)
    small = ctc_codec.encode(image, weights=model, nbytes=len(data) // 2)
    decoder = ctc_codec.Decoder(weights=model)
    arriving = []
    for piece in (data[: len(data) // 2], data[len(data) // 2 :]):
        decoder.feed(piece)
        arriving.append(decoder.image())
    pictures = [
        ctc_codec.decode(data, weights=model),
        ctc_codec.decode(small, weights=model),
        ctc_codec.thumbnail(data, weights=model),
        *arriving,
    ]
    return data, small, *((picture.mode, picture.size, picture.tobytes()) for picture in pictures)


@pytest.mark.slow
def test_many_threads_give_what_one_gives(images: list[Image.Image]) -> None:
    """Each has another image, and all of them one model, which has threads of its own."""
    model = ctc_codec.load_model(threads=3)
    alone = [_round(image, model) for image in images]
    assert len({result[0] for result in alone}) == len(images) == THREADS
    together = _together([partial(_round, image, model) for image in images])
    assert [a == b for a, b in zip(alone, together, strict=True)] == [True] * THREADS


@pytest.mark.slow
def test_a_file_is_the_same_whatever_the_threads(make_photo: MakePhoto) -> None:
    """Also where the models are used side by side."""
    models = [ctc_codec.load_model(threads=threads) for threads in (1, 2, 4)]
    image = make_photo(310, 260)
    files = _together([partial(ctc_codec.encode, image, weights=model) for model in models * 2])
    assert set(files) == {ctc_codec.encode(image, weights=models[0])}
    assert ctc_codec.decode(files[0], weights=models[2]).size == image.size


def test_an_image_can_be_shared_by_threads(make_photo: MakePhoto, tmp_path: Any) -> None:
    """One that is still to be loaded from its file."""
    model = ctc_codec.load_model()
    make_photo(60, 40).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        results = _together([lambda: ctc_codec.encode(image, weights=model)] * THREADS)
    assert set(results) == {ctc_codec.encode(make_photo(60, 40), weights=model)}


def test_errors_in_one_thread_are_not_those_of_another(make_photo: MakePhoto) -> None:
    model = ctc_codec.load_model()
    good = ctc_codec.encode(make_photo(64, 64), weights=model)
    bad = good[:-1] + bytes([good[-1] ^ 1])
    whole = ctc_codec.decode(good, weights=model).tobytes()

    def try_bad() -> object:
        with pytest.raises(ctc_codec.DamageError):
            ctc_codec.decode(bad, weights=model)
        said: list[str] = []
        ctc_codec.decode(bad, weights=model, accept_damage=True, warn=said.append)
        return len(said)

    works: list[Callable[[], Any]] = [lambda: ctc_codec.decode(good, weights=model).tobytes(), try_bad]
    assert _together(works * (THREADS // 2)) == [whole, 1] * (THREADS // 2)


@pytest.mark.slow
def test_the_model_can_be_loaded_by_many_threads_at_once(make_photo: MakePhoto) -> None:
    """In a process where nothing of the package has been imported yet."""
    script = """
import threading
from concurrent.futures import ThreadPoolExecutor
from PIL import Image
gate = threading.Barrier(8)
def work(number):
    gate.wait(60)
    import ctc_codec
    image = Image.effect_mandelbrot((40, 30), (-2, -1, 1, 1), 50 + number % 2)
    data = ctc_codec.encode(image)
    return number % 2, data, ctc_codec.decode(data).tobytes()
with ThreadPoolExecutor(8) as pool:
    print(len(set(pool.map(work, range(8)))))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"2\n"
