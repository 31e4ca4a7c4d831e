"""The ``ctc`` command. Nothing else of the package imports it."""

from .main import main

__all__ = ["main"]
