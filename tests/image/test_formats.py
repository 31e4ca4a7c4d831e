"""What is told of formats before numpy and Pillow are loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest
from PIL import Image

from ctc_codec.container.header import MAGIC
from ctc_codec.errors import InputError
from ctc_codec.image import formats
from ctc_codec.image.formats import ImageSuffixes, check_start, saving_format


def test_usual_formats_are_those_that_pillow_reads_and_writes() -> None:
    known = Image.registered_extensions()
    for suffix, kind in formats._USUAL.items():
        assert known[suffix] == kind
        assert kind in Image.OPEN
        assert kind in Image.SAVE
        assert saving_format(suffix) == kind


def test_suffixes_of_images() -> None:
    suffixes = ImageSuffixes()
    assert all(suffix in suffixes for suffix in (".png", ".jpe", ".webp", ".psd", ".heic", ".jxl"))
    assert not any(suffix in suffixes for suffix in ("", ".txt", ".ctc", ".eps", ".h5", ".PNG"))


def test_usual_names_load_neither_numpy_nor_pillow() -> None:
    script = (
        "import sys\nfrom ctc_codec.image.formats import *\n"
        "check_start(b'any'), saving_format('.JPG'), '.png' in ImageSuffixes(), check_size('PNG', 9, 9)\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert not {"numpy", "PIL"}.intersection(done.stdout.split())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (MAGIC + b"\4", "a .ctc file already"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"gimp xcf v011\0", "a GIMP project"),
        *(
            (start + bytes(9), "an archive")
            for start in (b"PK\3\4", b"\x1f\x8b", b"7z\xbc\xaf", b"(\xb5/\xfd")
        ),
    ],
)
def test_first_bytes_of_no_image(data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_start(data)


def test_first_bytes_that_may_be_an_image() -> None:
    for data in (b"\x89PNG\r\n\x1a\n", b"PK", b"any", bytes(100)):
        check_start(data)
