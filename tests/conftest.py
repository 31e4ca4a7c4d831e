"""Fixtures shared by all tests: one small photograph, its stream, and where the weights are."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

PHOTO_SIZE = (120, 88)

# Under nohup, or in the background of a script, these are ignored, by child processes too. Tests send them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _photograph(width: int, height: int, seed: int) -> np.ndarray:
    """Smooth shades, hard edges, a texture and sensor noise: uint8 [height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    rng = np.random.default_rng(seed)
    light = 130 + 60 * np.sin(x / 37 + seed) * np.cos(y / 29) - 0.2 * y
    light += 18 * np.sin(x / 1.7) * (y > 0.6 * height)
    light[(x - 0.7 * width) ** 2 + (y - 0.35 * height) ** 2 < (0.2 * height) ** 2] += 50
    light[:, int(0.15 * width) : int(0.18 * width) + 1] -= 70
    tint = np.stack([light + 15 * np.cos(x / 50), light, light - 25 + 20 * np.sin(y / 40)], axis=2)
    return (tint + rng.normal(0, 3, tint.shape)).round().clip(0, 255).astype(np.uint8)


@pytest.fixture
def process_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restored afterwards: the command owns its process; in a test it is a guest."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def weights() -> str | None:
    """The weights file in use, as the command finds it; None for the packaged one."""
    return os.environ.get("CTC_WEIGHTS") or None


@pytest.fixture(scope="session")
def make_photo() -> Callable[..., Image.Image]:
    """A photograph-like image of any size, the same for the same arguments."""

    def make(width: int = PHOTO_SIZE[0], height: int = PHOTO_SIZE[1], seed: int = 1) -> Image.Image:
        return Image.fromarray(_photograph(width, height, seed))

    return make


@pytest.fixture(scope="session")
def photo_png(tmp_path_factory: pytest.TempPathFactory, make_photo: Callable[..., Image.Image]) -> Path:
    """A PNG of 120x88 pixels, RGB. Tests do not write beside it: they share it."""
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    make_photo().save(path)
    return path


@pytest.fixture(scope="session")
def photo_ctc(photo_png: Path, weights: str | None) -> bytes:
    """The whole stream of ``photo_png``, made with the API."""
    import ctc_codec

    with Image.open(photo_png) as image:
        return ctc_codec.encode(image, weights=weights)


@pytest.fixture
def files(here: Path, photo_png: Path, photo_ctc: bytes) -> Path:
    """A working directory with photo.png and whole.ctc (its stream)."""
    shutil.copy(photo_png, here / "photo.png")
    (here / "whole.ctc").write_bytes(photo_ctc)
    return here


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to train on: two usable images, a narrow one and a text."""
    from bench import synthetic_image

    folder = tmp_path_factory.mktemp("photos")
    synthetic_image(400, 300).save(folder / "first.png")
    synthetic_image(300, 350).save(folder / "second.png")
    synthetic_image(40, 500).save(folder / "narrow.png")
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """Headless Chromium, driven by selenium, with logs of its console and its requests."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no Chromium with its driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync",
                     "disable-background-networking", "disable-component-update"):  # fmt: skip
        options.add_argument(f"--{argument}")
    options.add_argument(f"--user-data-dir={tmp_path / 'profile'}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()
