"""Fixtures of all tests: the model, a small photograph and its file, a browser, the state of the process."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import ctc_codec
from support import servers
from support.pictures import photograph

# Under nohup, or in the background of a script, these are ignored, by child processes too. Tests send them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.environ.pop("CTC_WEIGHTS", None)  # tests are of the packaged weights


_LONG = ("test_readme.py", "test_ray.py")
"""Files of tests that take longest: of two processes, one would end with them while the other is idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put them first; the order of all others stays."""
    items.sort(key=lambda item: item.path.name not in _LONG)


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
def model() -> ctc_codec.CodecModel:
    """The packaged weights, with one thread."""
    return ctc_codec.load_model(threads=1)


@pytest.fixture(scope="session")
def make_photo() -> Callable[..., Image.Image]:
    """A photograph-like image of any size, the same for the same arguments."""
    return lambda width=120, height=88, seed=1: Image.fromarray(photograph(width, height, seed))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small images, wide and tall."""
    folder = tmp_path_factory.mktemp("images")
    Image.fromarray(photograph(192, 128)).save(folder / "wide.png")
    Image.fromarray(photograph(120, 176)).save(folder / "tall.png")
    return folder


@pytest.fixture(scope="session")
def photo_png(tmp_path_factory: pytest.TempPathFactory, make_photo: Callable[..., Image.Image]) -> Path:
    """A PNG of 120x88 pixels, RGB. Tests do not write beside it: they share it."""
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    make_photo().save(path)
    return path


@pytest.fixture(scope="session")
def photo_ctc(photo_png: Path) -> bytes:
    """The whole stream of ``photo_png``, made with the API."""
    with Image.open(photo_png) as image:
        return ctc_codec.encode(image)


@pytest.fixture
def files(here: Path, photo_png: Path, photo_ctc: bytes) -> Path:
    """A working directory with photo.png and whole.ctc (its stream)."""
    shutil.copy(photo_png, here / "photo.png")
    (here / "whole.ctc").write_bytes(photo_ctc)
    return here


@pytest.fixture
def memory() -> Iterator[Any]:
    """The file system behind ``memory://``, which is empty."""
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[servers.WebSite]:
    """A web server of the folder www, which is empty."""
    pytest.importorskip("aiohttp")
    (tmp_path / "www").mkdir()
    with servers.served(tmp_path / "www") as site:
        yield site


@pytest.fixture(scope="module")
def bucket() -> Iterator[servers.Site]:
    """A store of S3 with the bucket ``s3://photos``, which a module's tests share."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    with servers.s3() as site:
        yield site


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
