"""Pictures that photographs lack: text, interfaces, checks, stripes, dither, few colours, blocks, lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .data import Pixels

SIDE = 512
_TEXTS, _PATTERNS, _REDUCED = 14, (1, 2, 3, 4, 5, 8), 5
_FONT_SIZES = (9, 10, 11, 12, 13, 15, 18, 24, 40)
_TEXT = (
    "the of and codec image plane trit bytes every prefix decodes to a picture with rate and distortion in "
    "order 0123456789 Wavelet (level) {sum} = a+b; print()."
)


class _Painter:
    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.words = _TEXT.split()

    def number(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high))

    def colour(self) -> tuple[int, int, int]:
        return self.number(0, 256), self.number(0, 256), self.number(0, 256)

    def text(self, draw: ImageDraw.ImageDraw) -> None:
        """A paragraph somewhere."""
        size = _FONT_SIZES[self.number(0, len(_FONT_SIZES))]
        font = ImageFont.load_default(size)
        left, top = self.number(0, 120), self.number(0, 300)
        right, bottom = left + self.number(200, 500), top + self.number(60, 500)
        colours = [(0, 0, 0), (0, 0, 0), (20, 60, 160), (255, 255, 255), self.colour()]
        fill = colours[self.number(0, len(colours))]
        for y in range(top, min(bottom, SIDE), int(size * 1.35)):
            line = ""
            while draw.textlength(line, font=font) < min(right, SIDE) - left:
                line += self.words[self.number(0, len(self.words))] + " "
            draw.text((left, y), line, font=font, fill=fill)

    def page(self, boxes: bool) -> Image.Image:
        """Text, on an interface's boxes or on paper."""
        papers = [(255, 255, 255)] * 3 + [(30, 30, 34), (250, 245, 230), self.colour()]
        image = Image.new("RGB", (SIDE, SIDE), papers[self.number(0, len(papers))])
        draw = ImageDraw.Draw(image)
        for _ in range(self.number(3, 14) if boxes else 0):
            x, y = self.number(0, SIDE), self.number(0, SIDE)
            corners = (x, y, x + self.number(20, 240), y + self.number(10, 160))
            outline = self.colour() if self.number(0, 2) else None
            draw.rectangle(corners, fill=self.colour(), outline=outline, width=self.number(1, 3))
        for _ in range(self.number(1, 4)):
            self.text(draw)
        return image

    def pattern(self, period: int) -> Image.Image:
        """Checks, stripes and slanted stripes of two colours."""
        two = np.array(
            [[0, 0, 0], [255, 255, 255]] if period < 4 else [self.colour(), self.colour()], np.uint8
        )
        y, x = np.mgrid[0:SIDE, 0:SIDE]
        middle = self.number(SIDE // 4, 3 * SIDE // 4)
        index = x // period + y // period
        index[:, middle:] = x[:, middle:] // period
        index[middle:, :middle] = (x + y * self.number(1, 3))[middle:, :middle] // period
        return Image.fromarray(two[index % 2])

    def reduced(self, photograph: Pixels, dither: bool) -> Image.Image:
        """A part of a photograph in black and white, or in few colours."""
        height, width = photograph.shape[:2]
        top, left = self.number(0, max(1, height - SIDE)), self.number(0, max(1, width - SIDE))
        part = Image.fromarray(photograph[top : top + SIDE, left : left + SIDE])
        return part.convert("1") if dither else part.quantize((8, 16, 32)[self.number(0, 3)])

    def blocks(self) -> Image.Image:
        noise = self.rng.integers(0, 256, (SIDE // 4, SIDE // 4, 3), dtype=np.uint8)
        return Image.fromarray(noise.repeat(4, axis=0).repeat(4, axis=1))

    def lines(self) -> Image.Image:
        image = Image.new("RGB", (SIDE, SIDE), "white")
        draw = ImageDraw.Draw(image)
        for _ in range(160):
            ends = [self.number(0, SIDE) for _ in range(4)]
            draw.line(ends, fill=self.colour() if self.number(0, 2) else (0, 0, 0), width=self.number(1, 4))
        return image


def synthetic_pictures(photographs: Sequence[Pixels], seed: int) -> Iterator[Pixels]:
    """Pictures uint8, of at most SIDE x SIDE; some are made of photographs."""
    painter = _Painter(np.random.default_rng(seed))
    images = [painter.page(i % 2 == 1) for i in range(_TEXTS)]
    images += [painter.pattern(period) for period in _PATTERNS]
    for i in range(_REDUCED):
        images.append(painter.reduced(photographs[painter.number(0, len(photographs))], i < 3))
    images += [painter.blocks(), painter.lines()]
    for image in images:
        yield np.asarray(image.convert("RGB"))
