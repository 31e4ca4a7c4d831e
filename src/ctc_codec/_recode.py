"""Whether a code word is the one that an encoder writes for what is read from it.

Decoding alone says little: nearly any bytes decode to something. Encoding that again gives the same bytes
only if an encoder wrote them.
"""

from __future__ import annotations

from ._codec import decode_latent
from ._container import split_stream, unframe
from ._decoder import Decoder
from ._entropy import RangeDecoder, RangeEncoder, Rows, Symbols
from ._errors import DamageError
from ._header import Header
from ._model import CodecModel
from ._stream import StreamDecoder


class _Echo(RangeDecoder):
    """Encodes all that it decodes."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = RangeEncoder()

    def decode(self, rows: Rows) -> Symbols:
        symbols = super().decode(rows)
        self.encoder.encode(symbols, rows[: len(symbols)])
        return symbols


def verify_code(data: bytes, model: CodecModel, max_pixels: int | None) -> None:
    """Read all trits of a .ctc file or of a prefix of one. Of a prefix nothing but that is verified.

    Raises DamageError for a code word that no encoder writes, WeightsError, LimitError, FormatError.
    """
    header, start = Header.parse(data)
    stream = unframe(data, header, start)
    if not stream.complete:
        decode_latent(data, weights=model, max_pixels=max_pixels)
        return
    Decoder(weights=model, max_pixels=max_pixels).feed(data[:start])  # refuses what is not to be tried
    code = split_stream(stream.data, header)[0]
    echo = _Echo()
    decoder = StreamDecoder(model, header.width, header.height, header.coding, echo)
    decoder.advance(code, True)
    if echo.encoder.finish() != code:
        raise DamageError("damaged: the code word is not one that an encoder writes")
