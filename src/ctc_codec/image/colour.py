"""Colours to sRGB, through the profile that a file carries or that says what it declares otherwise."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from .declaration import BRIGHT, BROKEN, Colours, high_dynamic_range, profile_curve, srgb

_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
"""Pillow's modes by the ICC's names of colour spaces."""

_SAME = 2
"""A profile that moves no colour by more levels is sRGB: makers round its curve in different ways."""

_LEVELS = np.arange(256, dtype=np.uint8)


def to_srgb(image: Image.Image, statements: list[Colours], notes: list[str]) -> Image.Image:
    """An image of mode L, RGB, CMYK or LAB as one of mode RGB, or still L, whose colours are sRGB.

    statements: about its colours, as of :func:`ctc_codec.image.declaration.declared`. The first that can be
        used counts; a profile that is broken or for other colours is ignored.
    notes: gets lines about those, and about the conversion.
    """
    for colours in statements:
        if image.mode in ("CMYK", "LAB") and not colours.embedded:
            continue  # said of RGB
        if colours.note:
            notes.append(colours.note)
        if not colours.profile:
            continue
        if colours.profile == srgb().profile:
            return image
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(colours.profile))
            space = source.profile.xcolor_space.strip()
            if _MODES.get(space) == image.mode or (space, image.mode) == ("RGB", "L"):
                name = _printable(ImageCms.getProfileDescription(source)) or "the embedded profile"
                if colours.embedded and (bright := _high_dynamic_range(colours.profile, name)):
                    notes.append(bright)
                return _through(source, image, name, notes)
            notes.append(f"the embedded colour profile is for {_printable(space)}: ignored")
        except Exception:  # a profile in which LittleCMS, or Pillow, finds something wrong
            notes.append(BROKEN)
    if image.mode == "CMYK":
        notes.append("CMYK without a colour profile: colours are approximate")
        return image.convert("RGB")
    if image.mode == "LAB":
        return _transform(ImageCms.createProfile("LAB"), "LAB").apply(image)
    return image


def _transform(source: Any, mode: str) -> ImageCms.ImageCmsTransform:
    """To sRGB with the black point kept, as image editors do it: the black of print becomes black."""
    return ImageCms.buildTransform(
        source,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _high_dynamic_range(profile: bytes, name: str) -> str | None:
    """A warning about a profile for high dynamic range."""
    written = re.search(r"(?<![A-Za-z])(PQ|PeQ|2084|HLG)(?![A-Za-z])", name)
    found = BRIGHT.get(profile_curve(profile)) or (written and ("HLG" if written[1] == "HLG" else "PQ"))
    return high_dynamic_range(found) if found else None


def _through(
    source: ImageCms.ImageCmsProfile, image: Image.Image, name: str, notes: list[str]
) -> Image.Image:
    """The image through a profile of this name, with a note unless no colour moves."""
    mode = _MODES[source.profile.xcolor_space.strip()]
    transform = _transform(source, mode)
    if image.mode == "L":
        # By a table, so that grey stays one channel. A profile for RGB says what its neutral colours are.
        ramp = Image.fromarray(_LEVELS[None]).convert(mode)
        table = np.rint(np.asarray(transform.apply(ramp)).mean(axis=2)[0])
        if np.abs(table - _LEVELS).max() <= _SAME:
            return image
        converted = image.point(table.astype(int).tolist())
    else:
        if mode == "RGB" and _is_identity(transform):
            return image
        converted = transform.apply(image)
    notes.append(f"colours are converted from {name} to sRGB")
    return converted


def _is_identity(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a transform leaves RGB as it is, on a grid of colours and on the greys."""
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    colours = np.concatenate([grid, np.repeat(_LEVELS[:, None], 3, axis=1)])[None]
    moved = np.asarray(transform.apply(Image.fromarray(colours))).astype(int)
    return bool(np.abs(moved - colours).max() <= _SAME)


def _printable(text: str) -> str:
    """One line of a text that comes from a file, at most 60 characters and none that a terminal obeys."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:60]
