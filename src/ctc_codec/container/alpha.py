"""The format of transparency, FORMAT.md section 11. Standard library only."""

from __future__ import annotations

import lzma
from typing import Any

CELL = 8
"""Side of the cells of the rough version, in pixels."""
TOP_LEVEL = 15
"""Their values are 0 to this."""
PLAIN, LEFT = range(2)
"""Prediction of a sample: none, or its left neighbour (0 at the left edge), modulo 256."""
FILTERS: list[dict[str, Any]] = [
    {"id": lzma.FILTER_LZMA1, "dict_size": 1 << 20, "lc": 3, "lp": 0, "pb": 0, "mode": lzma.MODE_NORMAL}
]
