"""The integers of a weights file: FORMAT.md section 10. Reads safetensors by itself."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any

_TYPES = {
    "U8": ("B", "uint8"),
    "I8": ("b", "int8"),
    "U16": ("H", "uint16"),
    "I32": ("i", "int32"),
    "F32": ("f", "float32"),
}
"""safetensors' names of the types: struct's letter, and the name that the fingerprint uses."""
_EXACT = "exact."


def _nested(values: tuple[Any, ...], shape: list[int]) -> list[Any]:
    """Row-major values as lists of lists."""
    out: list[Any] = list(values)
    for size in reversed(shape[1:]):
        out = [out[i : i + size] for i in range(0, len(out), size)]
    return out


class Weights:
    """fingerprint: 4 bytes; :meth:`__getitem__`: a tensor by its name without ``exact.``, as nested lists."""

    def __init__(self, path: Path | str) -> None:
        """Raises ValueError if the file is no weights file of this format."""
        content = Path(path).read_bytes()
        # safetensors: the length of a JSON text, 8 bytes little-endian; the text; the tensors' data.
        start = 8 + int.from_bytes(content[:8], "little")
        described = json.loads(content[8:start])
        if described.pop("__metadata__", {}).get("format") != "ctc-weights-4":
            raise ValueError(f"{path}: not a ctc-weights-4 file")
        self._tensors: dict[str, list[Any]] = {}
        digest = hashlib.sha256()
        for name in sorted(name for name in described if name.startswith(_EXACT)):
            letter, type_name = _TYPES[described[name]["dtype"]]
            shape = described[name]["shape"]
            first, last = described[name]["data_offsets"]
            data = content[start + first : start + last]
            digest.update(f"{name} {type_name} {tuple(shape)}\n".encode() + data)
            values = struct.unpack(f"<{len(data) // struct.calcsize(letter)}{letter}", data)
            self._tensors[name.removeprefix(_EXACT)] = _nested(values, shape)
        self.fingerprint = digest.digest()[:4]

    def __getitem__(self, name: str) -> Any:
        return self._tensors[name]

    def bits(self, name: str) -> list[int]:
        """A tensor of powers of two: how many bits each shifts to the right."""
        out = []
        for scale in self[name]:
            mantissa, exponent = math.frexp(scale)
            assert mantissa == 0.5
            out.append(1 - exponent)
        return out
