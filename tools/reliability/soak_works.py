"""What a soak does again and again: works of the library, each with a result that is known beforehand."""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

import ctc_codec
import ctc_codec.pillow
from ctc_codec import CodecModel, Decoder
from ctc_codec.container.file import parse
from ctc_codec.container.verify import verify

GOLDEN = Path(__file__).parents[2] / "tests/data/format"
_TARGETS: tuple[dict[str, Any], ...] = (
    *({}, {"quality": 30}, {"effort": 1}, {"effort": 7, "quality": 60}, {"context": False}),
    *({"nbytes": 700}, {"bpp": 0.6}, {"psnr": 30.0}),
)
_CUTS = (0.02, 0.1, 0.35, 0.7, 0.999)


class Wrong(Exception):
    """A result is not the known one."""


class Cancelled(BaseException):
    """Work is given up in the middle, as by ^C: no Exception, which is taken for Pillow's."""


def _spots(mode: str, width: int, height: int) -> Image.Image:
    """A soft picture with sharp edges in it."""
    rng = random.Random(width)
    small = Image.frombytes("RGB", (width // 8, height // 8), rng.randbytes(3 * (width // 8) * (height // 8)))
    picture = small.resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for _ in range(5):
        x, y = rng.randrange(width), rng.randrange(height)
        draw.ellipse((x, y, x + width // 4, y + height // 4), fill=(x % 256, y % 256, 128))
    picture = picture.convert(mode)
    if mode.endswith("A"):
        picture.putalpha(picture.convert("L").point(lambda v: 255 if v > 99 else v))
    return picture


def pictures() -> dict[str, Image.Image]:
    """Small ones of four modes, by name."""
    return {
        "rgb": _spots("RGB", 208, 136),
        "rgba": _spots("RGBA", 97, 61),
        "grey": _spots("L", 64, 120),
        "greya": _spots("LA", 48, 33),
    }


def shown(image: Image.Image) -> str:
    """Hash of a picture's mode, size and samples."""
    return hashlib.sha256(f"{image.mode} {image.size}".encode() + image.tobytes()).hexdigest()


class Works:
    """Works by name, to be called with a random generator, by several threads at once.

    Each raises Wrong if its result is not what it was when all of this was made, in one thread, or what the
    golden files say.
    """

    def __init__(self, model: CodecModel, rounds: int = 60) -> None:
        """Make the known results, in so many rounds: what is not asked for in them is known from its first
        time on."""
        self._model = model
        self._pictures = pictures()
        self._golden = json.loads((GOLDEN / "hashes.json").read_text())
        self._known: dict[tuple[Any, ...], Any] = {}
        self.files = {name: self._encoded(name, 0) for name in self._pictures}
        self.all: dict[str, Callable[[random.Random], None]] = {
            "encode": self.encode,
            "decode": self.decode,
            "golden files": self.golden,
            "arriving bytes": self.arriving,
            "thumbnail": self.thumbnail,
            "truncate and verify": self.truncate,
            "bad input": self.bad,
            "given up": self.given_up,
            "Pillow": self.pillow,
        }
        for work in self.all.values():
            for seed in range(rounds):
                work(random.Random(seed))

    def _same(self, key: tuple[Any, ...], found: Any) -> None:
        """See that a result is the known one, which is the first."""
        if found != self._known.setdefault(key, found):
            raise Wrong(f"{key}: another result than at first")

    def _encoded(self, name: str, target: int) -> bytes:
        return ctc_codec.encode(self._pictures[name], weights=self._model, **_TARGETS[target])

    def _cut(self, rng: random.Random) -> tuple[str, bytes]:
        name = rng.choice(sorted(self.files))
        data = self.files[name]
        return name, data[: max(30, int(rng.choice(_CUTS) * len(data)))]

    def encode(self, rng: random.Random) -> None:
        """With every kind of target."""
        name, target = rng.choice(sorted(self._pictures)), rng.randrange(len(_TARGETS))
        self._same(("encode", name, target), self._encoded(name, target))

    def decode(self, rng: random.Random) -> None:
        """Whole and cut files."""
        name, data = self._cut(rng) if rng.random() < 0.5 else rng.choice(sorted(self.files.items()))
        self._same(("decode", name, len(data)), shown(ctc_codec.decode(data, weights=self._model)))

    def golden(self, rng: random.Random) -> None:
        """The latent of a golden file."""
        name = rng.choice(sorted(self._golden))
        cut = rng.choice(sorted(self._golden[name]))
        decoder = Decoder(weights=self._model)
        decoder.feed((GOLDEN / f"{name}.ctc").read_bytes()[: int(cut)])
        decoder.finish()
        if decoder.latent().sha256() != self._golden[name][cut]:
            raise Wrong(f"golden file {name}, {cut} bytes")

    def arriving(self, rng: random.Random) -> None:
        """A cut file in random pieces, with pictures in between."""
        name, data = self._cut(rng)
        decoder, at = Decoder(weights=self._model), 0
        while at < len(data):
            size = rng.randint(1, len(data))
            decoder.feed(data[at : at + size])
            at += size
            if decoder.header is not None and rng.random() < 0.3:
                decoder.image()
        self._same(("decode", name, len(data)), shown(decoder.image()))

    def thumbnail(self, rng: random.Random) -> None:
        name = rng.choice(sorted(self.files))
        self._same(("thumbnail", name), shown(ctc_codec.thumbnail(self.files[name], weights=self._model)))

    def truncate(self, rng: random.Random) -> None:
        """With what is told of the cut file, and its verification."""
        name, share = rng.choice(sorted(self.files)), rng.choice(_CUTS[1:])
        data = ctc_codec.truncate(self.files[name], nbytes=int(share * len(self.files[name])))
        if not self.files[name].startswith(data):
            raise Wrong(f"{name}: no prefix")
        found = ctc_codec.info(data)
        facts = len(data), found.bpp, found.psnr, verify(parse(data))
        self._same(("info", name, share), facts)

    def bad(self, rng: random.Random) -> None:
        """Damage, other files, no file, limits: the right error, or the picture before the damage."""
        name = rng.choice(sorted(self.files))
        data, kind = self.files[name], rng.randrange(6)
        flipped = bytearray(data)
        flipped[len(data) * 2 // 3] ^= 16
        try:
            if kind == 0:
                ctc_codec.decode(bytes(flipped), weights=self._model)
            elif kind == 1:
                ctc_codec.decode(rng.randbytes(400), weights=self._model)
            elif kind == 2:
                ctc_codec.decode(data[: rng.randrange(1, 12)], weights=self._model)
            elif kind == 3:
                ctc_codec.decode(data, weights=self._model, max_pixels=100)
            elif kind == 4:
                ctc_codec.load_model(GOLDEN / "odd.ctc")
            else:
                image = ctc_codec.decode(bytes(flipped), weights=self._model, accept_damage=True)
                self._same(("accepted", name), shown(image))
                return
        except ctc_codec.CtcError as error:
            self._same(("bad", name, kind), type(error).__name__)
            return
        raise Wrong(f"{name}: bad input of kind {kind} is taken")

    def given_up(self, rng: random.Random) -> None:
        """A decoder that is left in the middle, and an error in a function of the caller."""

        def give_up(_: str) -> None:
            raise Cancelled

        name, data = self._cut(rng)
        decoder = Decoder(weights=self._model)
        decoder.feed(data[: rng.randrange(len(data))])
        flipped = bytearray(self.files[name])
        flipped[len(flipped) // 2] ^= 1
        for call in (
            lambda: ctc_codec.decode(bytes(flipped), weights=self._model, accept_damage=True, warn=give_up),
            lambda: ctc_codec.encode(
                self._pictures["rgb"].convert("CMYK"), weights=self._model, warn=give_up
            ),
        ):
            try:
                call()
            except Cancelled:
                continue
            raise Wrong(f"{name}: the error of a caller's function is lost")

    def pillow(self, rng: random.Random) -> None:
        """Saved and opened by Pillow."""
        name, file = rng.choice(sorted(self._pictures)), io.BytesIO()
        self._pictures[name].save(file, "CTC", quality=40)
        with Image.open(file) as image:
            self._same(("Pillow", name), (file.getvalue(), shown(image.copy())))
