"""The ``ctc`` command. Nothing else of the package imports it."""

from .main import command, main

__all__ = ["command", "main"]
