"""Image files to Pillow images: limits, damage, and formats that need a plugin."""

from __future__ import annotations

import io
import sys
import types

import pytest
from PIL import Image

from ctc_codec.errors import InputError, LimitError
from ctc_codec.image.open import open_image
from ctc_codec.image.source import source_image
from support.image_samples import SIZE, file_of, picture

_HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    data = file_of("PNG", picture)()
    assert open_image(data, SIZE[0] * SIZE[1]).size == SIZE
    with pytest.raises(LimitError, match="48x32"):
        open_image(data[:100], SIZE[0] * SIZE[1] - 1)


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
