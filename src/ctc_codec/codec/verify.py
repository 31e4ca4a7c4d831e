"""Verification of a code word by encoding again all that is read from it.

Decoding alone says little: nearly any bytes decode to something. Encoding that again gives the same bytes
only if an encoder wrote them.
"""

from __future__ import annotations

from ..container.coder import Frequencies, RangeDecoder, RangeEncoder, Symbols
from ..container.file import parse
from ..errors import DamageError
from .decoder import Decoder
from .model import CodecModel
from .walk import Reader, Walk, run


class _Echo(RangeDecoder):
    """Encodes all that it decodes."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data, complete=True)
        self.encoder = RangeEncoder()

    def decode(self, frequencies: Frequencies) -> Symbols:
        symbols = super().decode(frequencies)
        self.encoder.encode(symbols, frequencies[: len(symbols)])
        return symbols


def verify_code(data: bytes, model: CodecModel, max_pixels: int | None) -> None:
    """Read all trits of a .ctc file or of a prefix of one. Of a prefix nothing but that is verified.

    Raises DamageError for a code word that no encoder writes, WeightsError, LimitError, FormatError.
    """
    file = parse(data)
    decoder = Decoder(weights=model, max_pixels=max_pixels)
    if not file.complete:
        decoder.feed(data)
        decoder.finish()
        return
    decoder.feed(data[: file.header_bytes])  # refuses what is not to be tried
    echo = _Echo(file.code)
    run(Walk(model, file.header, Reader(echo)))
    if echo.encoder.finish() != file.code:
        raise DamageError("damaged: the code word is not one that an encoder writes")
