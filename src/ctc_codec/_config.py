"""The sizes of a model: everything needed to rebuild its networks from a weights file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields

PATCH = 8
"""Side of the pixel block that becomes one position of the 1/8 grid."""

LATENT_STRIDE = 16
"""Pixels per latent position, in each direction."""

HYPER_STRIDE = 4
"""Latent positions per hyper-latent position, in each direction (so z stands at 1/64)."""


@dataclass(frozen=True)
class ModelConfig:
    """Channel counts and depths of the networks.

    The transforms work on 1/8 of the resolution with ``3 * PATCH**2`` channels (pixels, unshuffled)
    and on 1/16 with ``latent_channels``.
    """

    latent_channels: int = 320
    blocks_8: int = 4
    blocks_16: int = 3
    wavelet_channels: int = 3
    """The first latent channels, decomposed across positions (:mod:`ctc_codec._wavelet`)."""
    wavelet_levels: int = 3
    hyper_channels: int = 128
    hyper_analysis_channels: int = 192
    hyper_synthesis_channels: tuple[int, int, int] = (128, 160, 256)

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Inverse of :meth:`to_json`. Raises ValueError for anything that is not such a text."""
        values = json.loads(text)
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            raise ValueError("not a model configuration")
        values["hyper_synthesis_channels"] = tuple(values["hyper_synthesis_channels"])
        return cls(**values)
