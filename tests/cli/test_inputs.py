"""Which files a command takes and what the outputs are called: folders, suffixes, what exists already. Names
that do not fit together are wrong usage, see test_main.py."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from ctc_codec.cli.inputs import _folds
from support.command import PLAIN, TRUNCATE, Result, assert_refused, ctc, files_below, names, touch

MakePhoto = Callable[..., Image.Image]
CUT = ("truncate", "--bytes", "300")

# --- names of outputs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "written"),
    [
        ("any name.bin", "any name.bin"),
        ("out", "out/plain.ctc"),  # a folder that is there
        ("out/", "out/plain.ctc"),
        ("new/folder/", "new/folder/plain.ctc"),
    ],
)
def test_output_is_a_file_or_a_folder(files: Path, output: str, written: str) -> None:
    (files / "out").mkdir()
    before = files_below(files)
    assert ctc(*TRUNCATE, "-o", output).code == 0
    assert files_below(files) == sorted([*before, written])
    assert (files / written).read_bytes() == PLAIN[:200_000]


def test_only_a_suffix_of_such_files_is_replaced(here: Path, photo_ctc: bytes, make_photo: MakePhoto) -> None:
    inputs = ["bare", "a.b.c", "Screen at 10.30.45", "a.tar.ctc", "B.CTC", "c.png.ctc"]
    for name in inputs:
        Path(name).write_bytes(photo_ctc)
    assert ctc("truncate", *inputs, "--bytes", 500, "-o", "cut/").code == 0
    expected = ["B.ctc", "Screen at 10.30.45.ctc", "a.b.c.ctc", "a.tar.ctc", "bare.ctc", "c.png.ctc"]
    assert names(here / "cut") == expected
    assert ctc("decode", *inputs, "-o", "pictures/").code == 0
    expected = ["B.png", "Screen at 10.30.45.png", "a.b.c.png", "a.tar.png", "bare.png", "c.png"]
    assert names(here / "pictures") == expected
    for name in ("Screen at 10.30.45", "d.v2.JPG", "e.tar.gz", "f"):
        make_photo(20, 18).save(here / "pictures" / name, "JPEG")
    assert ctc("encode", "pictures/Screen at 10.30.45", *glob.glob("pictures/[def]*"), "-o", "out/").code == 0
    assert names(here / "out") == ["Screen at 10.30.45.ctc", "d.v2.ctc", "e.tar.gz.ctc", "f.ctc"]


def test_a_suffix_can_be_kept_there_and_back(here: Path, make_photo: MakePhoto) -> None:
    for name in ("a.png", "a.jpg", "b"):
        make_photo(20, 18).save(name, "PNG")
    assert ctc("encode", "a.png", "a.jpg", "b", "--keep-suffix", "-o", "out/").code == 0
    assert names(here / "out") == ["a.jpg.ctc", "a.png.ctc", "b.ctc"]
    assert ctc("decode", "-r", "out", "-o", "back").code == 0
    assert names(here / "back") == ["a.jpg.png", "a.png", "b.png"]
    assert_refused(ctc("decode", "out/a.png.ctc", "-o", "a.png"), "a.png: exists already (-o")


# --- outputs of one name ----------------------------------------------------------------------------


def test_inputs_of_one_output_are_named_and_the_others_are_done(here: Path, make_photo: MakePhoto) -> None:
    inputs = ["in/1.jpg", "in/1.png", "in/2.png", "in/sub/3.png", "in/sub/3.webp"]
    touch(*inputs)
    make_photo(20, 18).save("in/2.png")
    result = ctc("encode", "-r", "in")
    assert_refused(Result(result.code, b"", result.lines[-1]), "4 of 5 inputs failed")
    for a, b, output in ((*inputs[:2], "in/1.ctc"), (*inputs[3:], "in/sub/3.ctc")):
        words = f"would be written to {output} too"
        hint = " (--keep-suffix gives each a name of its own)"
        assert f"ctc: {a}: left out: {b} {words}{hint}" in result.lines
        assert f"ctc: {b}: left out: {a} {words}" in result.lines
    assert result.counts == (1, 4, 0)
    assert files_below(here / "in") == ["1.jpg", "1.png", "2.ctc", "2.png", "sub/3.png", "sub/3.webp"]


def test_of_many_inputs_of_one_output_some_are_named(here: Path) -> None:
    Path("list").write_text("".join(f"http://host{i}/a.png\n" for i in range(3000)) + "b.png\n" * 3000)
    touch("b.png")
    result = ctc("encode", "--files-from", "list", "-o", "out/", "--quiet")
    assert result.code == 1
    assert len(result.lines) == 3002
    assert max(map(len, result.lines[:-1])) < 300


def test_one_input_that_is_named_twice_is_taken_once(shelf: Path) -> None:
    Path("link").symlink_to("in/a")
    result = ctc(*CUT, "-r", "in/a/w.ctc", "in/a", "in/a/../a/w.ctc", "link/w.ctc", "in/z.ctc", "-o", "out")
    assert result.counts == (2, 0, 0)
    assert files_below(shelf / "out") == ["w.ctc", "z.ctc"]


@pytest.mark.parametrize("folds", [False, True])
def test_outputs_are_compared_by_the_case_rules_of_their_folder(
    shelf: Path, monkeypatch: pytest.MonkeyPatch, folds: bool
) -> None:
    """Played: this file system tells upper case from lower case."""
    shutil.copy("in/z.ctc", "in/b/Y.ctc")
    monkeypatch.setattr("ctc_codec.cli.inputs._folds", lambda folder: folds)
    result = ctc(*CUT, "-r", "in/b", "in/a", "-o", "out")
    assert result.code == int(folds)
    assert files_below(shelf / "out") == [
        *["Y.ctc"] * (not folds),
        "c/x.ctc",
        "w.ctc",
        *["y.ctc"] * (not folds),
    ]
    assert ("in/b/Y.ctc: left out: in/b/y.CTC would be written to out/Y.ctc too" in result.err) == folds


def test_a_folder_tells_whether_it_folds_case(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _folds(str(here / "not" / "there"))
    exists = os.path.exists

    def exists_in_any_case(path: str) -> bool:
        return exists(path) or exists(os.path.join(os.path.dirname(path), os.path.basename(path).swapcase()))

    monkeypatch.setattr("os.path.exists", exists_in_any_case)
    assert _folds(str(here))
    assert names(here) == []


# --- lists ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\0"])
@pytest.mark.parametrize("through", ["list", "-"])
def test_names_come_from_a_list(shelf: Path, separator: str, through: str) -> None:
    """Their folders come back below that of the outputs."""
    listed = separator.join(["in/a/w.ctc", "./in/z.ctc", str(shelf / "in/b/y.CTC"), "in/../in/b/c/x.ctc", ""])
    Path("list").write_bytes(listed.encode())
    result = ctc(*CUT, "--files-from", through, "-o", "out", "--quiet", stdin=listed.encode())
    assert result == Result(2, b"", result.err)  # no folder yet
    result = ctc(*CUT, "--files-from", through, "-o", "out/", "--quiet", stdin=listed.encode())
    assert result == Result(0, b"", "")
    absolute = str((shelf / "in/b/y.ctc").relative_to("/"))
    assert sorted(files_below(shelf / "out")) == sorted(["in/a/w.ctc", "in/z.ctc", absolute, "in/b/c/x.ctc"])


def test_a_list_stays_below_the_output_folder(shelf: Path) -> None:
    Path("deep").mkdir()
    Path("list").write_text("../in/z.ctc\n")
    os.chdir("deep")
    assert ctc(*CUT, "../in/b/../a/w.ctc", "--files-from", "../list", "-o", "out/").code == 0
    assert files_below(shelf / "deep") == ["out/in/z.ctc", "out/w.ctc"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lists_of_other_systems_are_read(shelf: Path, encoding: str) -> None:
    shutil.copy("in/z.ctc", "blüte.ctc")
    Path("list").write_text("in/z.ctc\r\n\r\nblüte.ctc\r\n", encoding, newline="")
    assert ctc(*CUT, "--files-from", "list", "-o", "out/", "--quiet") == Result(0, b"", "")
    assert files_below(shelf / "out") == ["blüte.ctc", "in/z.ctc"]


def test_an_empty_list_is_nothing_to_do(here: Path) -> None:
    touch("list")
    assert ctc("check", "--files-from", "list") == Result(0, b"", "")
    assert ctc("encode", "--files-from", "list", "-o", "x") == Result(0, b"", "")


def test_two_files_of_any_suffix_are_inputs(here: Path, photo_ctc: bytes) -> None:
    for name in ("a.part", "b.part"):
        Path(name).write_bytes(photo_ctc)
    assert ctc("decode", "a.part", "b.part").counts == (2, 0, 0)
    assert names(here) == ["a.part", "a.part.png", "b.part", "b.part.png"]


# --- folders ----------------------------------------------------------------------------------------


def test_folders_are_mirrored(shelf: Path) -> None:
    result = ctc(*CUT, "-r", "in", "-o", "new/out")
    assert result.code == 0, result.err
    assert files_below(shelf / "new/out") == ["a/w.ctc", "b/c/x.ctc", "b/y.ctc", "z.ctc"]
    assert [line.split(" -> ")[0] for line in result.lines[:-1]] == [
        "in/z.ctc",
        "in/a/w.ctc",
        "in/b/y.CTC",
        "in/b/c/x.ctc",
    ]
    assert result.lines[-1].startswith("ctc: 4 done, 0 failed, 0 skipped, 1.20 kB of .ctc, ")


def test_folders_and_files_go_together(shelf: Path, photo_ctc: bytes) -> None:
    Path("single.ctc").write_bytes(photo_ctc)
    assert ctc(*CUT, "-r", "in/b/", "single.ctc", "in/a", "-o", "out").code == 0
    assert files_below(shelf / "out") == ["c/x.ctc", "single.ctc", "w.ctc", "y.ctc"]


def test_without_an_output_folder_results_go_beside_the_inputs(shelf: Path) -> None:
    before = files_below(shelf)
    assert ctc("decode", "-r", "in", "--quiet", "--thumbnail").code == 0
    new = ["in/a/w.png", "in/b/c/x.png", "in/b/y.png", "in/z.png"]
    assert sorted(set(files_below(shelf)) - set(before)) == new


def test_an_output_folder_inside_an_input_folder_is_not_read(shelf: Path) -> None:
    for _ in range(2):
        assert ctc(*CUT, "-r", "in", "-o", "in/out", "-f").code == 0
    assert files_below(shelf / "in/out") == ["a/w.ctc", "b/c/x.ctc", "b/y.ctc", "z.ctc"]


@pytest.mark.parametrize("command", [("info",), ("check", "--quiet")])
def test_folders_are_searched_by_commands_that_write_nothing(shelf: Path, command: tuple[str, str]) -> None:
    touch("in/b/y.ctc")  # of the same name but for its case
    result = ctc(*command, "--json", "-r", "in", "in/a/w.ctc", "in/empty")
    assert_refused(result, "ctc: in/empty: there is no *.ctc", "ctc: in/b/y.ctc: ", lines=3)
    found = ["in/z.ctc", "in/a/w.ctc", "in/b/y.CTC", "in/b/y.ctc", "in/b/c/x.ctc"]
    assert [facts["file"] for facts in result.objects] == ["in/empty", *found, "in/a/w.ctc"]
    assert ["error" in facts for facts in result.objects] == [True, *[False] * 3, True, False, False]


def test_links_to_folders_are_not_followed(shelf: Path) -> None:
    Path("in/b/loop").symlink_to("..")
    Path("in/b/self").symlink_to("self")
    Path("in/b/linked.ctc").symlink_to("../z.ctc")
    Path("in/b/lost.ctc").symlink_to("nowhere")
    os.mkfifo("in/b/pipe.ctc")
    Path("in/b/folder.ctc").mkdir()
    result = ctc(*CUT, "-r", "in/b", "-o", "out")
    assert_refused(
        Result(result.code, b"", "\n".join(result.lines[-1:])), "1 of 4 inputs failed: in/b/lost.ctc"
    )
    assert "ctc: in/b/lost.ctc: No such file or directory" in result.lines
    assert files_below(shelf / "out") == ["c/x.ctc", "linked.ctc", "y.ctc"]
    assert not Path("out/linked.ctc").is_symlink()


def test_a_link_that_is_named_is_followed(shelf: Path) -> None:
    Path("link").symlink_to("in/a")
    assert ctc(*CUT, "-r", "link", "-o", "out").code == 0
    assert files_below(shelf / "out") == ["w.ctc"]


def test_images_are_told_by_their_suffix(here: Path, make_photo: MakePhoto) -> None:
    for name in ("a.png", "b.JPG", "c.Webp", "d.tiff", "g.ppm"):
        make_photo(20, 18).save(name)
    touch("e.txt", "f.ctc", "f.mpg", "f.pdf", ".h.png")
    result = ctc("encode", "-r", ".", "-o", "out")
    assert result.code == 0
    assert result.lines[-2] == "ctc: 3 in folders left out, by their suffix: .mpg, .pdf, .txt"
    assert files_below(here / "out") == ["a.ctc", "b.ctc", "c.ctc", "d.ctc", "g.ctc"]
    result = ctc("encode", "-r", ".", "-o", "out", "-f", "--quiet")
    assert (result.code, result.err) == (0, "")


def test_an_image_that_needs_a_plugin_is_not_left_out_silently(here: Path) -> None:
    touch("phone.HEIC")
    assert_refused(ctc("encode", "-r", "."), "phone.HEIC")


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_a_folder_with_nothing_to_do_fails_and_the_others_are_done(shelf: Path, command: str) -> None:
    touch("nothing/text.txt")
    assert_refused(ctc(command, "-r", "nothing", "-o", "out"), "nothing", "in this folder")
    assert not Path("out").exists()
    if command == "decode":
        result = ctc(command, "-r", "nothing", "in/a", "-o", "out", "--quiet")
        assert_refused(result, "ctc: nothing: there is no *.ctc", "1 of 2 inputs failed: nothing", lines=2)
        assert files_below(shelf / "out") == ["w.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_cannot_be_read_fails_and_the_others_are_done(shelf: Path) -> None:
    Path("in/b").chmod(0)
    try:
        result = ctc(*CUT, "-r", "in", "-o", "out", "--quiet")
    finally:
        Path("in/b").chmod(0o755)
    assert_refused(result, "ctc: in/b: Permission denied", "1 of 3 inputs failed: in/b", lines=2)
    assert files_below(shelf / "out") == ["a/w.ctc", "z.ctc"]


def test_a_file_in_the_way_of_a_folder_fails_what_would_go_there(shelf: Path) -> None:
    touch("out/b")
    result = ctc(*CUT, "-r", "in", "-o", "out", "--quiet")
    assert result.code == 1
    assert result.lines[-1] == "ctc: 2 of 4 inputs failed: in/b/y.CTC, in/b/c/x.ctc"
    assert all(line.startswith("ctc: in/b/") and "internal" not in line for line in result.lines[:-1])
    assert files_below(shelf / "out") == ["a/w.ctc", "b", "z.ctc"]


# --- what exists already ----------------------------------------------------------------------------


def test_what_exists_is_skipped_and_counted(shelf: Path) -> None:
    touch("out/a/w.ctc", "out/z.ctc")
    result = ctc(*CUT, "-r", "in", "-o", "out", "--skip-existing")
    assert (result.code, result.counts) == (0, (2, 0, 2))
    assert len(result.lines) == 3
    assert Path("out/z.ctc").read_bytes() == b""
    assert Path("out/b/y.ctc").stat().st_size == 300
    result = ctc(*CUT, "-r", "in", "-o", "out", "--skip-existing", "--json")
    assert (result.code, result.counts) == (0, (0, 0, 4))
    skipped = [facts["output"] for facts in result.objects if facts["skipped"]]
    assert skipped == ["out/z.ctc", "out/a/w.ctc", "out/b/y.ctc", "out/b/c/x.ctc"]
    assert len(result.lines) == 1


def test_one_file_that_exists_is_skipped_without_a_word(here: Path) -> None:
    touch("a.png", "a.ctc")
    assert ctc("encode", "a.png", "--skip-existing", "--weights", "nowhere") == Result(0, b"", "")
