"""Manifests: lists, folders and Parquet files."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from ctc_codec.container import storage
from support.command import assert_misused, ctc, files_below

TRUNCATE = ("truncate", "--bytes", 300, "-o", "out")


def _write(name: str, **columns: list[str | None] | list[int]) -> None:
    parquet.write_table(pyarrow.table(columns), name)


def test_list_keeps_the_folders_that_it_names(shelf: Path) -> None:
    Path("list.txt").write_text("in/z.ctc\nin/b/y.CTC\n")
    assert ctc(*TRUNCATE, "--manifest", "list.txt").code == 0
    assert files_below(Path("out")) == ["in/b/y.ctc", "in/z.ctc"]


def test_folder_is_searched(shelf: Path) -> None:
    assert ctc(*TRUNCATE, "--manifest", "in").code == 0
    assert files_below(Path("out")) == ["a/w.ctc", "b/c/x.ctc", "b/y.ctc", "z.ctc"]


def test_names_may_be_urls(shelf: Path, photo_ctc: bytes) -> None:
    storage.write("memory://shelf/1.ctc", photo_ctc)
    Path("list.txt").write_text(f"file://{shelf}/in/z.ctc\nmemory://shelf/1.ctc\n")
    assert ctc(*TRUNCATE, "--manifest", "list.txt").code == 0
    below = str(shelf)[1:]
    assert files_below(Path("out")) == sorted([f"{below}/in/z.ctc", "shelf/1.ctc"])


@pytest.mark.parametrize("column", ["source", "url", "path", "file", "whatever"])
def test_parquet_column_of_names(shelf: Path, column: str) -> None:
    _write("list.parquet", width=[1, 2, 3], **{column: ["in/z.ctc", None, "in/b/y.CTC"]})
    assert ctc(*TRUNCATE, "--manifest", "list.parquet").code == 0
    assert files_below(Path("out")) == ["in/b/y.ctc", "in/z.ctc"]


def test_parquet_column_of_categories(shelf: Path) -> None:
    names = pyarrow.array(["in/z.ctc", None, "in/b/y.CTC"]).dictionary_encode()
    parquet.write_table(pyarrow.table({"label": ["a", "b", "c"], "path": names}), "list.parquet")
    assert ctc(*TRUNCATE, "--manifest", "list.parquet").code == 0
    assert files_below(Path("out")) == ["in/b/y.ctc", "in/z.ctc"]


def test_parquet_prefers_known_columns(shelf: Path) -> None:
    _write("list.parquet", label=["cat"], path=["in/z.ctc"])
    assert ctc(*TRUNCATE, "--manifest", "list.parquet").code == 0
    assert files_below(Path("out")) == ["in/z.ctc"]


def test_manifests_behind_urls(shelf: Path) -> None:
    _write("list.parquet", source=["in/z.ctc"])
    storage.write("memory://lists/list.parquet", Path("list.parquet").read_bytes())
    storage.write("memory://lists/list.txt", b"in/b/y.CTC\n")
    for name in ("list.parquet", "list.txt"):
        assert ctc(*TRUNCATE, "--manifest", f"memory://lists/{name}").code == 0
    assert files_below(Path("out")) == ["in/b/y.ctc", "in/z.ctc"]


def test_bad_manifests(shelf: Path) -> None:
    Path("bad.parquet").write_bytes(b"PAR1 and no more")
    _write("numbers.parquet", width=[1])
    _write("damaged.parquet", path=["in/z.ctc"] * 9)
    data = Path("damaged.parquet").read_bytes()
    Path("damaged.parquet").write_bytes(data[:4] + bytes(60) + data[64:])
    twice = pyarrow.table([["in/z.ctc"], ["in/y.ctc"]], names=["path", "path"])
    parquet.write_table(twice, "twice.parquet")
    for name, words in {
        "bad.parquet": "bad.parquet",
        "numbers.parquet": "no column has names",
        "damaged.parquet": "damaged.parquet: ",
        "twice.parquet": "twice.parquet: ",
        "missing.parquet": "No such file",
        "missing.txt": "No such file",
        "memory://nowhere/list.txt": "No such file",
    }.items():
        assert_misused(ctc(*TRUNCATE, "--manifest", name), words)


def test_standard_input_is_one_input(shelf: Path) -> None:
    result = ctc(*TRUNCATE, "-", "--manifest", "-", stdin=b"in/z.ctc")
    assert_misused(result, "standard input can be read only once")


def test_one_list_at_a_time(shelf: Path) -> None:
    Path("list.txt").write_text("in/z.ctc\n")
    result = ctc(*TRUNCATE, "--manifest", "list.txt", "--files-from", "list.txt")
    assert_misused(result, "--files-from and --manifest exclude each other")
