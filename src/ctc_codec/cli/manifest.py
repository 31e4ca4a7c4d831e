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
    try:
        file = parquet.ParquetFile(io.BytesIO(read_input(name)))
        worded = [
            field.name
            for field in file.schema_arrow
            if types.is_string(field.type) or types.is_large_string(field.type)
        ]
        column = next((each for each in _COLUMNS if each in worded), worded[0] if worded else None)
        if column is None:
            raise click.UsageError(f"{printable(name)}: no column has names of files")
        names: list[str | None] = file.read([column])[column].to_pylist()
        return tuple(each for each in names if each)
    except (ArrowException, InputError) as error:
        raise click.UsageError(f"{printable(name)}: {' '.join(str(error).split())}") from None
