"""Manifests: lists of inputs for one job."""

from __future__ import annotations

import io
import os

import click

from ..container import storage
from ..container.storage import is_url
from ..errors import InputError
from .files import printable, read_input, read_names, reason

_COLUMNS = ("source", "url", "path", "file")
"""Names that the column of a Parquet file may have; else it is the first one with words."""


def read_manifest(name: str) -> tuple[tuple[str, ...], bool]:
    """The inputs that a manifest names, and whether it is a folder, which is an input itself.

    name: of a folder, of a Parquet file, or of a list as ``--files-from`` takes it. Raises UsageError.
    """
    try:
        if os.path.isdir(name) or (is_url(name) and storage.is_folder(name)):
            return (name,), True
    except OSError as error:
        raise click.UsageError(f"{printable(name)}: {reason(error)}") from None
    if name.lower().endswith(".parquet"):
        return _parquet(name), False
    return read_names(name), False


def _parquet(name: str) -> tuple[str, ...]:
    try:
        from pyarrow import ArrowException, parquet, types
    except ImportError:
        raise click.UsageError("Parquet files need pip install 'ctc-codec[ray]'") from None
    worded = []
    try:
        # Of a local file no more is read than one column.
        with parquet.ParquetFile(io.BytesIO(read_input(name)) if is_url(name) else name) as file:
            for field in file.schema_arrow:
                kind = field.type.value_type if types.is_dictionary(field.type) else field.type
                if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
                    worded.append(field.name)
            column = next((each for each in _COLUMNS if each in worded), worded[0] if worded else None)
            names: list[str | None] = [] if column is None else file.read([column])[column].to_pylist()
    except (ArrowException, InputError, KeyError, OSError) as error:
        words = reason(error) if isinstance(error, OSError) and error.strerror else str(error)
        raise click.UsageError(f"{printable(name)}: {' '.join(words.split())}") from None
    if not worded:
        raise click.UsageError(f"{printable(name)}: no column has names of files")
    if any("\0" in each for each in names if each):
        raise click.UsageError(f"{printable(name)}: there is a zero byte in a name")
    return tuple(each for each in names if each)
