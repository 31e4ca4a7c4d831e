"""ctc_codec: a progressive image codec. One stream per image, every prefix of it is an image.

    import ctc_codec
    data = ctc_codec.encode(PIL.Image.open("photo.png"))
    small = ctc_codec.truncate(data, bpp=0.2)      # the same as small = data[:n]
    image = ctc_codec.decode(small)

`Decoder` decodes while the bytes arrive, `thumbnail` makes a small picture from the first ones, and
`register_pillow` teaches `PIL.Image.open` and `save` the format.

Context-based trit-plane coding after Jeon et al. (CVPR 2023) and DPICT (Lee et al., CVPR 2022). All
that the entropy coder depends on is integer arithmetic, so a file decodes to the same latent on every
machine.
"""

from __future__ import annotations

from .errors import (
    CtcError,
    DamageError,
    FormatError,
    InputError,
    LimitError,
    OutputError,
    TargetError,
    WeightsError,
)

TYPE_CHECKING = False  # as typing has it, which takes as long to import as all of this

if TYPE_CHECKING:
    from typing import Any

    from .codec.decoder import DecodedLatent, Decoder, decode, thumbnail
    from .codec.encoder import encode
    from .codec.model import CodecModel, load_model
    from .codec.options import DecodeOptions, EncodeOptions
    from .container.file import Info, info, truncate
    from .container.header import Header
    from .pillow import register_pillow

__version__ = "0.1.0"

# Loaded on first use: some need numpy and onnxruntime, which `truncate` and `info` do without.
_LAZY = {
    "CodecModel": ".codec.model",
    "DecodeOptions": ".codec.options",
    "DecodedLatent": ".codec.decoder",
    "Decoder": ".codec.decoder",
    "EncodeOptions": ".codec.options",
    "Header": ".container.header",
    "Info": ".container.file",
    "decode": ".codec.decoder",
    "encode": ".codec.encoder",
    "info": ".container.file",
    "load_model": ".codec.model",
    "register_pillow": ".pillow",
    "thumbnail": ".codec.decoder",
    "truncate": ".container.file",
}

__all__ = [
    "CodecModel",
    "CtcError",
    "DamageError",
    "DecodeOptions",
    "DecodedLatent",
    "Decoder",
    "EncodeOptions",
    "FormatError",
    "Header",
    "Info",
    "InputError",
    "LimitError",
    "OutputError",
    "TargetError",
    "WeightsError",
    "decode",
    "encode",
    "info",
    "load_model",
    "register_pillow",
    "thumbnail",
    "truncate",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
