"""Check sums: a stream in blocks, each followed by a CRC, so that damage is told from truncation.

Standard library only.
"""

from __future__ import annotations

import binascii

BLOCK_DATA = 4094
"""Bytes of the stream per check sum."""
CRC_BYTES = 2
BLOCK_BYTES = BLOCK_DATA + CRC_BYTES
_CRC_START = 0xFFFF


def crc(data: bytes, start: int = _CRC_START) -> int:
    """CRC-16/CCITT (polynomial 0x1021, most significant bit first, no final xor)."""
    return binascii.crc_hqx(data, start)


def framed_bytes(payload_bytes: int) -> int:
    """Size of a whole payload with its check sums."""
    return payload_bytes + CRC_BYTES * -(-payload_bytes // BLOCK_DATA)


def frame(payload: bytes) -> bytes:
    """Payload with a running CRC after every ``BLOCK_DATA`` bytes and after the last one."""
    out, check = bytearray(), _CRC_START
    for start in range(0, len(payload), BLOCK_DATA):
        block = payload[start : start + BLOCK_DATA]
        check = crc(block, check)
        out += block + check.to_bytes(CRC_BYTES, "big")
    return bytes(out)


class Unframer:
    """Checks and strips the frames of a stream that arrives in pieces and may end anywhere.

    complete: nothing is missing and every check sum fits.
    damage: what is wrong and at which byte of the file, or None.
    """

    def __init__(self, stream_bytes: int, at: int) -> None:
        """Expect a stream of so many bytes, without check sums, that begins at byte ``at`` of the file."""
        self._left = stream_bytes
        self._at = at
        self._crc = _CRC_START
        self._checked = bytearray()
        self._block = b""
        self.complete = self._left == 0
        self.damage: str | None = None

    @property
    def data(self) -> bytes:
        """Bytes of the stream up to the end of the pieces, or up to the first damaged block."""
        rest = self._block[: min(BLOCK_DATA, self._left)]
        return bytes(self._checked + rest if rest else self._checked)

    @property
    def length(self) -> int:
        """Length of ``data``."""
        return len(self._checked) + min(len(self._block), BLOCK_DATA, self._left)

    @property
    def used(self) -> int:
        """Bytes of the file that ``data`` and the check sums around it take."""
        return self._at + len(self._block)

    def feed(self, piece: bytes) -> None:
        """Take the next bytes after the header. Bytes behind damage are not looked at."""
        if self.damage is not None:
            return
        data = self._block + piece if self._block else piece
        taken = 0
        while self._left:
            size = min(BLOCK_DATA, self._left)
            block, check = data[taken : taken + size], data[taken + size : taken + size + CRC_BYTES]
            if not check:
                break
            found = crc(block, self._crc)
            if check != found.to_bytes(CRC_BYTES, "big")[: len(check)]:
                end = self._at + size + len(check)
                self._damaged(f"damaged between bytes {self._at} and {end} (wrong check sum)")
                return
            if len(check) < CRC_BYTES:
                break
            self._checked += block
            taken += size + CRC_BYTES
            self._crc, self._left, self._at = found, self._left - size, self._at + size + CRC_BYTES
        self._block = data[taken:]
        self.complete = not self._left and not self._block
        if not self._left and self._block:
            self._damaged(f"{len(self._block)} bytes follow the end of the stream at byte {self._at}")

    def _damaged(self, what: str) -> None:
        self.damage, self._block = what, b""
