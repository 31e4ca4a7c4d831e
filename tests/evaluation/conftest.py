"""Images and the command, which the tests of the evaluation share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

Evaluate = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def pixels() -> np.ndarray:
    """Smooth shades, hard edges, a texture and noise of a sensor, uint8 [192, 256, 3]."""
    y, x = np.mgrid[0:192, 0:256].astype(np.float64)
    light = 130 + 60 * np.sin(x / 37 + 1) * np.cos(y / 29) - 0.2 * y
    light += 18 * np.sin(x / 1.7) * (y > 115)
    light[(x - 179) ** 2 + (y - 67) ** 2 < 38**2] += 50
    light[:, 38:47] -= 70
    tint = np.stack([light + 15 * np.cos(x / 50), light, light - 25 + 20 * np.sin(y / 40)], axis=2)
    return (tint + np.random.default_rng(1).normal(0, 3, tint.shape)).round().clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def evaluate() -> Evaluate:
    """``ctc evaluate`` in a process of its own, which must end with ``code``."""

    def run(*arguments: object, code: int = 0, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ctc_codec.cli", "evaluate", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, **options)  # type: ignore[call-overload]
        assert done.returncode == code, done.stderr
        return done

    return run
