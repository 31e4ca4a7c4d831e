"""Pictures with captions, side by side in one picture."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

_CAPTION = 22


def panel(image: Image.Image, caption: str) -> Image.Image:
    """An RGB picture below a line of text."""
    result = Image.new("RGB", (image.width, image.height + _CAPTION), "white")
    result.paste(image, (0, _CAPTION))
    ImageDraw.Draw(result).text((4, 3), caption, fill="black", font=ImageFont.load_default(14))
    return result


def montage(panels: list[Image.Image], columns: int) -> Image.Image:
    """Panels of one size, side by side in rows."""
    width, height = panels[0].size
    sheet = Image.new("RGB", (columns * width, -(-len(panels) // columns) * height), "white")
    for i, one in enumerate(panels):
        sheet.paste(one, (i % columns * width, i // columns * height))
    return sheet
