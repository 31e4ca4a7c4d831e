"""Everything that can go wrong, as one tree, and checks of arguments.

CtcError
    InputError      not an image, or one that cannot be coded
    FormatError     not a .ctc file, or a damaged or newer one
        DamageError     the bytes are not those that were written
    WeightsError    weights missing, damaged, or not those that the file was made with
    LimitError      more pixels than allowed
    TargetError     a rate or quality that this image or file cannot meet
    OutputError     the result cannot be written
"""

from __future__ import annotations

from numbers import Integral, Real


class CtcError(Exception):
    """Root of all errors raised by ctc_codec. The message is one line meant for people."""


class InputError(CtcError):
    """The input is not an image, or not one that can be coded."""


class FormatError(CtcError):
    """The data is not a .ctc stream that this version can read."""


class DamageError(FormatError):
    """Bytes of a .ctc stream changed after it was written."""


class WeightsError(CtcError):
    """Weights are missing or damaged, or are not those that the file was made with."""


class LimitError(CtcError):
    """The image has more pixels than allowed."""


class TargetError(CtcError):
    """A requested rate or quality is out of reach."""


class OutputError(CtcError):
    """The result cannot be written."""


def check_numbers(**values: object) -> None:
    """Raise TypeError, which names it, for an argument that is neither a number nor None."""
    for name, value in values.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, Real)):
            raise TypeError(f"{name} must be a number, not {type(value).__name__}")


def check_flags(**values: object) -> None:
    """Raise TypeError, which names it, for an argument that is neither True nor False."""
    for name, value in values.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be True or False, not {value!r}")


def check_counts(**values: object) -> None:
    """Raise TypeError, which names it, for an argument that is neither a whole number nor None."""
    for name, value in values.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, Integral)):
            raise TypeError(f"{name} must be a whole number, not {type(value).__name__} ({value!r})")
