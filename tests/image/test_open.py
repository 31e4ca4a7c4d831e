"""Image files to Pillow images: limits, damage, and formats that need a plugin."""

from __future__ import annotations

import io
import os
import signal
import struct
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from ctc_codec.container.header import MAGIC
from ctc_codec.errors import InputError, LimitError
from ctc_codec.image import metadata
from ctc_codec.image import open as open_module
from ctc_codec.image.lock import Lock
from ctc_codec.image.open import identify, open_image
from ctc_codec.image.source import source_image
from support.image_samples import SIZE, file_of, picture

_HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    data = file_of("PNG", picture)()
    assert open_image(data, SIZE[0] * SIZE[1]).size == SIZE
    with pytest.raises(LimitError, match="48x32"):
        open_image(data[:100], SIZE[0] * SIZE[1] - 1)


def test_an_icon_of_too_many_pixels_is_refused_before_pillow_loads_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = file_of("PNG", picture)()
    icon = b"\0\0\1\0\1\0" + struct.pack("<8xII", len(data), 22) + data
    identify(icon, SIZE[0] * SIZE[1])
    opened: list[object] = []
    monkeypatch.setattr(Image, "open", opened.append)
    with pytest.raises(LimitError, match="48x32"):
        identify(icon, SIZE[0] * SIZE[1] - 1)
    assert not opened


def test_a_cut_image_that_the_caller_has_opened() -> None:
    with pytest.raises(InputError, match="damaged image"):
        source_image(Image.open(io.BytesIO(file_of("PNG", picture)()[:700])))


def test_heic_without_its_plugin_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputError, match=r"HEIC needs a plugin .*pillow-heif"):
        open_image(_HEIC)


def test_heic_is_tried_again_with_its_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    class FakeImage(Image.Image):
        format = "HEIF"

    def register() -> None:
        calls.append("registered")
        monkeypatch.setattr(Image, "open", lambda file: fake)

    fake = FakeImage()
    fake.im = Image.new("RGB", (5, 4), "red").im
    fake._mode, fake._size = "RGB", (5, 4)
    plugin = types.ModuleType("pillow_heif")
    plugin.register_heif_opener = register  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", plugin)
    source = source_image(open_image(_HEIC))
    assert calls == ["registered"]
    assert (source.pixels == (255, 0, 0)).all()


def test_a_damaged_heic_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = types.ModuleType("pillow_heif")
    plugin.register_heif_opener = lambda: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", plugin)
    with pytest.raises(InputError, match="HEIC file that Pillow cannot open"):
        open_image(_HEIC)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (MAGIC, "a .ctc file already"),
        (b"II*\0\x10\0\0\0CR\2\0", "raw file"),
        (b"FUJIFILMCCD-RAW 0201", "raw file"),
        (b"IIRO\x08\0\0\0", "raw file"),
        (b"IIU\0\x18\0\0\0", "raw file"),
        (b"FOVb\0\0\2\0", "raw file"),
        (b"\0\0\0\x18ftypcrx ", "raw file"),
        (b"\0\0\0\x18ftypisom", "a video"),
        (b"\0\0\0\x18ftypqt  ", "a video"),
        (b"\x1aE\xdf\xa3\x9f", "a video"),
        (b"RIFF\0\1\0\0AVI LIST", "a video"),
        (b"\0\0\1\xb3\x10\0\x10\x13", "a video"),
        (b"<svg width='9'>", "an SVG drawing"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- no -->\n<svg>', "an SVG drawing"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"%!PS-Adobe-3.0\n", "a PostScript drawing"),
        (b"\xd7\xcd\xc6\x9a\0\0", "a Windows metafile"),
        (b"RIFF\0\1\0\0ACONanih", "an animated cursor"),
        (b"\x76\x2f\x31\1\2\0\0\0", "floating-point"),
        (b"#?RADIANCE\n", "floating-point"),
        (b"gimp xcf v011\0", "a GIMP project"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\4CgBI", "Apple"),
        (b"PK\3\4\x14\0", "an archive"),
        (b"\x89PNG\r\n\x1a\n", "a PNG file that Pillow cannot open"),
        (b"<!DOCTYPE html><html>", "not an image that Pillow can open"),
    ],
)
def test_files_that_are_no_images_are_named(start: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        open_image(start + bytes(200))
    assert "\n" not in str(caught.value)


def test_threads_may_open_files_at_once() -> None:
    data = file_of("PNG", picture)()
    with ThreadPoolExecutor(8) as pool:
        for image in pool.map(open_image, [data] * 40):
            assert image.size == SIZE


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("lock", [open_module.files, metadata._quiet])
def test_a_child_finds_locks_open_that_another_thread_holds(lock: Lock) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    child = os.fork()
    if not child:
        signal.alarm(20)
        with lock:
            os._exit(0)
    status = os.waitpid(child, 0)[1]
    done.set()
    thread.join()
    assert status == 0
