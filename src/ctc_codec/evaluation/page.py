"""The report as one HTML file: plots, tables, and one image at growing rates beside its peers."""

from __future__ import annotations

import base64
import importlib.resources
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ..codec.options import DEFAULT_QUALITY
from ..image.transparency import Pixels
from .codecs import Ctc, PeerError
from .images import EvaluationImage, read_image
from .metrics import METRICS, quality
from .peers import LayeredJpeg2000, jpeg_within, opened
from .results import OURS, PER_IMAGE_RATES, Results, anchor_of, per_image
from .tables import bd_rows, difference_rows, rate_table_rows, resource_rows, whole_line

RATES = (0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)
"""Bits per pixel of the pictures on the page."""

_SHOWN_SIDE = 1024
_DISPLAY = {"quality": 92, "method": 4}

Panel = dict[str, Any]
"""label, nbytes, psnr and data (an URI of the picture); or label and missing, in words."""


def shown_image(images: Sequence[EvaluationImage], results: Results) -> EvaluationImage:
    """The image in the middle: neither our best nor our worst against JPEG 2000."""
    rows = [row for row in per_image(results) if row["bd_rate"] is not None]
    if not rows:
        return images[0]
    middle = sorted(rows, key=lambda row: float(row["bd_rate"]))[len(rows) // 2]["name"]
    return next(image for image in images if image.name == middle)


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _picture(pixels: Pixels) -> str:
    """The middle of an image, as a WebP of high quality: a page of 30 pictures has to stay small."""
    top, left = (max(0, side - _SHOWN_SIDE) // 2 for side in pixels.shape[:2])
    out = io.BytesIO()
    middle = pixels[top : top + _SHOWN_SIDE, left : left + _SHOWN_SIDE]
    Image.fromarray(middle).save(out, "WEBP", **_DISPLAY)
    return _uri("webp", out.getvalue())


def _panel(label: str, original: Pixels, nbytes: int, decoded: Pixels) -> Panel:
    psnr = quality(original, decoded, ["psnr"])["psnr"]
    return {"label": label, "nbytes": nbytes, "psnr": psnr, "data": _picture(decoded)}


def frames(path: Path, weights: Path) -> list[dict[str, Any]]:
    """Rows, by rising rate: bpp, and panels of our codec, layered JPEG 2000 and JPEG at no more bytes."""
    original = read_image(path).pixels
    count = original.shape[0] * original.shape[1]
    streams = sorted(Ctc(weights, RATES, quality=DEFAULT_QUALITY).streams(original), key=lambda s: s.nbytes)
    cuts = {stream.nbytes: stream for stream in streams}
    layered = LayeredJpeg2000([8 * nbytes / count for nbytes in cuts])
    try:
        layered.version()
        layers = iter(list(layered.streams(original)))
    except (PeerError, OSError, ValueError):  # OpenJPEG refuses tiny images
        layers = iter(())
    result = []
    for nbytes, cut in cuts.items():
        ours = _panel(OURS, original, nbytes, cut.decode())
        theirs = {"label": layered.label, "missing": "not available"}
        if (layer := next(layers, None)) is not None:
            theirs = _panel(layered.label, original, layer.nbytes, layer.decode())
        baseline = {"label": "JPEG", "missing": "cannot be made this small"}
        if (jpeg := jpeg_within(original, nbytes)) is not None:
            baseline = _panel("JPEG", original, len(jpeg), opened(jpeg))
        result.append({"bpp": 8 * nbytes / count, "panels": [ours, theirs, baseline]})
    return result


def render(
    results: Results, plots: dict[str, bytes], shown: EvaluationImage, steps: list[dict[str, Any]]
) -> str:
    """The page. It refers to nothing outside itself.

    plots: files by name.
    shown: the image on the slider.
    steps: of :func:`frames`.
    """
    import jinja2

    anchor = anchor_of(results)
    template = importlib.resources.files(__package__).joinpath("page.html.jinja").read_text()
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    measured = [m for m in METRICS if m.name in results["metrics"]]
    return environment.from_string(template).render(
        results=results,
        plots={n: _uri("png", data) for n, data in plots.items() if n.endswith(".png")},
        rate_tables=[(m.label, *rate_table_rows(results, m.name)) for m in measured],
        whole=whole_line(results),
        difference=difference_rows(results),
        bd=bd_rows(results),
        resources=resource_rows(results),
        anchor=results["codecs"][anchor]["label"] if anchor else None,
        images=list(per_image(results)),
        image_rates=PER_IMAGE_RATES,
        shown=shown,
        steps=steps,
    )
