"""The rows of the cases: what a user does, and what is right. A row asserts what its user sees, no more.

A colour is the mean of each channel of the decoded whole file, give or take 3.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from cases.build import COLOUR
from cases.place import Command, Done, Place, psnr, samples

Row = Callable[[Place], None]
ROWS: dict[str, Row] = {}
"""By name, in the order of the groups below."""

_WHOLE_DB = 38
"""Whole files of the default quality have 40 dB, whatever their content; a little less is still no cliff."""


def row(function: Row) -> Row:
    """Add a row, by the function's name."""
    ROWS[function.__name__] = function
    return function


def run(name: str, files: Path, patience: float = 1.0, ctc: Command | None = None) -> list[str]:
    """What is wrong in a row, in a copy of the files of its own: nothing, if it passes.

    files: a folder that :func:`cases.build.build` wrote.
    patience, ctc: see :class:`cases.place.Place`.
    """
    with tempfile.TemporaryDirectory() as temporary:
        place = Place(Path(temporary) / "cases", patience, ctc)
        shutil.copytree(files, place.folder, symlinks=True)
        try:
            ROWS[name](place)
        except Exception as error:  # of output that is nothing like what the row reads
            place.wrong.append(f"{type(error).__name__}: {error}")
    return place.wrong


# --- pixels -----------------------------------------------------------------------------------------


def _coded_well(here: Place, *names: str) -> None:
    """Expect the whole files to be near the inputs, and the figures of the command to be those measured."""
    for name in names:
        (here / "x.png").unlink(missing_ok=True)
        told = json.loads(here.works(f"ctc encode -f {name} -o x.ctc --json").out or "{}")
        here.works("ctc decode -f x.ctc -o x.png")
        one, other = here.picture(name), here.picture("x.png")
        here.at_least(_WHOLE_DB, one, other, name)
        if one.size == other.size:
            measured = psnr(samples(one.convert("RGB")), samples(other.convert("RGB")))
            here.expect(abs(told.get("psnr", 0) - measured) < 0.5, f"{name}: {told}, measured {measured:.2f}")


@row
def checks_and_stripes(here: Place) -> None:
    """Content unlike photographs: no pixels from numbers that are not finite, never a black picture."""
    names = ("checks-2px-48", "checks-2px-64", "checks-2px-128", "stripes-1px-40", "stripes-1px-128")
    _coded_well(here, *(f"{name}.png" for name in names))


@row
def checks_1px(here: Place) -> None:
    """Files that cost much have something to show for it."""
    _coded_well(here, "checks-1px-128.png", "checks-1px-soft.png")


@row
def checks_contrast(here: Place) -> None:
    """No cliff where contrast grows."""
    _coded_well(here, *(f"checks-2px-contrast-{n}.png" for n in (32, 64, 96, 112)))


@row
def stripes_2px(here: Place) -> None:
    _coded_well(here, "stripes-2px-128.png")


@row
def patch(here: Place) -> None:
    """Trouble does not spread to sound neighbours: pixels more than 32 px away have 35 dB, also in a cut."""
    _coded_well(here, "patch.png")
    size = (here / "x.ctc").stat().st_size
    away = np.ones((256, 256), bool)
    away[80 - 32 : 180 + 32, 80 - 32 : 180 + 32] = False
    for count in (size, size // 2):
        here.works(f"ctc decode -f x.ctc --bytes {count} -o x.png")
        right, found = samples(here.picture("patch.png")), samples(here.picture("x.png"))
        if here.expect(right.shape == found.shape, f"patch.png: {found.shape}"):
            dB = psnr(right[away], found[away])
            here.expect(dB >= 35, f"away from the patch, at {count} of {size} bytes: {dB:.1f} dB")


@row
def out_of_reach(here: Place) -> None:
    """What a file says of its quality is what is measured; what it has not is refused."""
    name = "checks-2px-64.png"
    here.works(f"ctc encode {name} -o x.ctc")
    here.fails("ctc truncate x.ctc --psnr 60 -o t.ctc", 1, "60", "dB")
    here.expect(not (here / "t.ctc").exists(), "an output that is not what was asked for")
    table = json.loads(here.works("ctc info --json x.ctc").out or "{}").get("quality", [])
    here.expect(len(table) > 3, f"a quality table of {len(table)} lines")
    for count, told in table:
        decoded = json.loads(here.works(f"ctc decode -f x.ctc --bytes {count} -o x.png --json").out or "{}")
        here.expect(math.isfinite(decoded.get("psnr") or 0), f"{decoded}")
        measured = psnr(samples(here.picture(name)), samples(here.picture("x.png").convert("L")))
        here.expect(told <= measured + 2, f"at {count} bytes {told} dB are told, {measured:.2f} measured")


@row
def grey(here: Place) -> None:
    """Grey is a property of pixels, not of the file's mode."""
    for options in ("", "--bytes 1000"):
        here.works(f"ctc encode -f {options} grey.png -o grey.ctc; ctc decode -f grey.ctc -o grey-back.png")
        right, most = here.picture("grey-back.png"), (here / "grey.ctc").stat().st_size
        for name in ("grey-rgb.png", "grey-rgba.png", "grey-rgb-jpeg.jpg"):
            _, found = here.there_and_back(name, options)
            here.expect(found.mode == "L", f"{name} {options}: mode {found.mode}")
            if name.endswith(".png"):
                here.at_least(math.inf, right, found, f"{name} {options} against grey.png")
                size = (here / "x.ctc").stat().st_size
                here.expect(size <= most, f"{name} {options}: {size} bytes, more than {most}")
            else:
                here.at_least(30 if options else _WHOLE_DB, here.picture(name), found, f"{name} {options}")


@row
def grey_but_for_a_spot(here: Place) -> None:
    _, found = here.there_and_back("grey-but-for-a-spot.png")
    here.expect(found.mode == "RGB", f"mode {found.mode}")
    spot = samples(found.convert("RGB"))[62:66, 62:66].mean((0, 1))
    here.expect(bool(np.abs(spot - (200, 30, 30)).max() < 25), f"the red spot is {spot}")


@row
def alpha_that_is_not_meant(here: Place) -> None:
    """A picture does not vanish without a word."""
    for name in ("tga-alpha-zero.tga", "tga-alpha-zero-rle.tga"):
        here.colour(here.there_and_back(name)[1], (200, 0, 0), name)
    done, found = here.there_and_back("tga-alpha-zero-declared.tga")
    if found.mode == "RGBA":
        here.expect(done.says("transparent|visible"), f"transparent without a note: {done.err}")
    else:
        here.colour(found, (200, 0, 0), "tga-alpha-zero-declared.tga")


@row
def alpha_that_is_meant(here: Place) -> None:
    _, found = here.there_and_back("tga-alpha-meant.tga")
    if here.expect(found.mode == "RGBA", f"mode {found.mode}"):
        here.colour(found.getchannel("A"), (124,), "alpha")
        here.expect(found.getchannel("A").getextrema() == (0, 248), found.getchannel("A").getextrema())


@row
def preview_only(here: Place) -> None:
    done = here.shell(f"ctc encode {here.renamed('preview-only.tif')}")
    here.expect(done.says("reduced|preview"), f"not named as a preview: {done.err}")
    here.expect(done.code in (0, 1), f"exit {done.code}")


@row
def preview_first(here: Place) -> None:
    _, found = here.there_and_back("preview-first.tif")
    here.at_least(30, here.picture("preview-last.tif"), found, "the second page")


@row
def preview_last(here: Place) -> None:
    for name in ("preview-last.tif", "page-of-several.tif"):
        done, found = here.there_and_back(name)
        here.at_least(30, here.picture("preview-last.tif"), found, name)
        here.expect(done.says("page") or name == "preview-last.tif", f"{name}: no word of the other page")


# --- colours and metadata ---------------------------------------------------------------------------


def _colours(here: Place, right: tuple[int, ...], *names: str, note: str = "") -> None:
    for name in names:
        done, found = here.there_and_back(name)
        here.colour(found, right, name)
        here.expect(done.says(note), f"{name}: no note with {note!r}: {done.err}")


@row
def gamma(here: Place) -> None:
    """Colours that a file declares by gAMA."""
    names = ("gama-linear.png", "gama-linear-grey.png", "gama-linear-palette.png", "gama-1.8.png")
    for name in names:
        done, found = here.there_and_back(name)
        here.expect(found.mode == "L", f"{name}: mode {found.mode} of a grey picture")
        here.colour(found.convert("L"), (81,) if "1.8" in name else (137,), name)
        here.expect(done.says("gamma|linear|convert"), f"{name}: no note: {done.err}")
    _, found = here.there_and_back("gama-linear-rgba.png")
    here.colour(found.convert("RGBA"), (137, 137, 137, 200), "gama-linear-rgba.png")


@row
def gamma_of_srgb_and_none(here: Place) -> None:
    for name in ("gama-2.2.png", "gama-zero.png"):
        here.colour(here.there_and_back(name)[1].convert("RGB"), (64, 64, 64), name)


@row
def precedence(here: Place) -> None:
    """cICP, iCCP, sRGB, then gAMA and cHRM."""
    here.colour(
        here.there_and_back("srgb-over-gama.png")[1].convert("RGB"), (64, 64, 64), "srgb-over-gama.png"
    )
    _colours(here, (195, 83, 61), "iccp-over-gama.png")
    _colours(here, (193, 83, 63), "cicp-over-gama.png")
    _colours(here, COLOUR, "cicp-srgb.png", "cicp-srgb-over-iccp.png")


@row
def primaries(here: Place) -> None:
    _colours(here, (194, 83, 62), "chrm-p3.png", note="convert|P3|primaries")
    _colours(here, COLOUR, "chrm-srgb.png", "chrm-none.png")


@row
def code_points(here: Place) -> None:
    _colours(here, (193, 83, 63), "cicp-p3.png", note="convert|P3")
    _colours(here, (217, 68, 63), "cicp-bt2020.png", note="convert|2020")


@row
def high_dynamic_range(here: Place) -> None:
    """Not taken for sRGB in silence."""
    for name in ("pq", "hlg"):
        done = here.shell(f"ctc encode -f {here.renamed(f'cicp-{name}.png')}")
        here.expect(done.says(rf"\b{name}\b"), f"{name.upper()} is not named: {done.err}")


@row
def long_text(here: Place) -> None:
    """Metadata of unusual size fail no sound pixels."""
    for options in ("", "--keep-metadata"):
        for name in ("text-ztxt.png", "text-itxt.png"):
            here.colour(here.there_and_back(name, options)[1], COLOUR, f"{name} {options}")


@row
def long_xmp(here: Place) -> None:
    _, found = here.there_and_back("text-xmp.png", "--keep-metadata")
    here.colour(found, COLOUR, "text-xmp.png")
    packet = found.info.get("xmp") or found.info.get("XML:com.adobe.xmp") or b""
    here.expect(len(packet) > 2_000_000, f"XMP of {len(packet)} bytes")


@row
def long_profile(here: Place) -> None:
    _colours(here, (195, 83, 61), "icc-small.png", "icc-large.png")
    _colours(here, COLOUR, "icc-large-broken.png", note="profile")


@row
def exif_of_adobe_rgb(here: Place) -> None:
    """Kept metadata describe the pixels that are kept."""
    for name in ("exif-adobe.jpg", "exif-adobe-in-png.png"):
        _, found = here.there_and_back(name, "--keep-metadata", "jpg")
        exif = found.getexif()
        own = exif.get_ifd(0x8769)
        interop = own.get(0xA005)
        index = interop.get(1, "R98") if isinstance(interop, dict) else exif.get_ifd(0xA005).get(1, "R98")
        told = {
            "size": found.size,
            "Orientation": exif.get(0x0112),
            "ColorSpace": own.get(0xA001),
            "InteropIndex": str(index).rstrip("\0"),
            "PixelXDimension": own.get(0xA002),
            "PixelYDimension": own.get(0xA003),
            "Make": exif.get(0x010F),
        }
        here.expect(tuple(told.values()) == ((96, 128), 1, 1, "R98", 96, 128, "Maker"), f"{name}: {told}")


@row
def exif_of_sizes(here: Place) -> None:
    _, found = here.there_and_back("exif-size.jpg", "--keep-metadata", "jpg")
    sizes = [found.getexif().get(tag) for tag in (0x0100, 0x0101)]
    here.expect(sizes in ([96, 128], [None, None]), f"{found.size}, and EXIF says {sizes}")


@row
def resolution(here: Place) -> None:
    """300 dpi are kept whatever the formats, and 1 dpi is not made up."""
    for name in ("dpi-phys.png", "dpi-jfif.jpg", "dpi-tags.tif"):
        for suffix in ("png", "jpg", "tif"):
            _, found = here.there_and_back(name, "--keep-metadata", suffix)
            dpi = tuple(map(float, found.info.get("dpi", (0, 0))))
            near = all(abs(value - 300) <= 0.01 for value in dpi)
            here.expect(near, f"{name} as {suffix}: {dpi} dpi")
    _, found = here.there_and_back("icon.png", suffix="tif")
    here.expect(found.info.get("dpi", (72, 72))[0] > 1, f"TIFF says {found.info.get('dpi')}")


# --- files, processes, streams ----------------------------------------------------------------------


@row
def fork_child(here: Place) -> None:
    for threads in ("1", "2"):
        here.soon(15, here.works("timeout 100 python fork_child.py", OMP_NUM_THREADS=threads), threads)


@row
def fork_pool(here: Place) -> None:
    for threads in ("1", "2"):
        here.soon(15, here.works("timeout 100 python fork_pool.py", OMP_NUM_THREADS=threads), threads)


@row
def permissions_cannot_be_set(here: Place) -> None:
    """No such call, or it is refused: the output is replaced, and nothing is left beside it."""
    here.works("ctc encode icon.png --bytes 60; ctc encode icon.png -o whole.ctc")
    right, names = (here / "whole.ctc").read_bytes(), {path.name for path in here.folder.iterdir()}
    for script in ("no_fchmod.py", "fchmod_refused.py"):
        here.works("cp whole.ctc icon.ctc; head -c 60 whole.ctc > icon.ctc")
        here.works(f"python {script} encode -f icon.png")
        here.expect((here / "icon.ctc").read_bytes() == right, f"{script}: not replaced")
        left = {path.name for path in here.folder.iterdir()} - names
        here.expect(not left, f"{script}: left {left}")


@row
def the_beginning_decides(here: Place) -> None:
    """No more is read than is needed: from a slow stream, and from one without an end."""
    here.works("ctc encode scene.png; cp scene.ctc whole.ctc")
    right = (here / "whole.ctc").read_bytes()[:200]
    command = (
        "start=$(date +%s%N); timeout 20 ctc truncate --quiet - --bytes 200 > t.ctc; code=$?; "
        "echo $(( $(date +%s%N) - start )); exit $code"
    )
    for stream, limits in (("cat whole.ctc; sleep 4", ""), ("cat whole.ctc; yes", "ulimit -v 3000000; ")):
        done = here.works(f"{limits}({stream}) 2> feeder | ({command})")
        here.expect((here / "t.ctc").read_bytes() == right, f"({stream}): other bytes")
        seconds = int(done.out.strip() or 0) / 1e9
        here.expect(seconds <= min(1 * here.patience, 3.5), f"({stream}): after {seconds:.2f} s")


@row
def linked_folders(here: Place) -> None:
    """Two inputs have one output by a link: refused before anything is written, or two outputs."""
    before = _files(here)
    done = here.shell("ctc encode -f linked/real/x.png linked/link/x.jpg")
    new = _files(here) - before
    if done.code == 2:
        here.expect(not new, f"written before it was refused: {new}")
    else:
        here.expect(done.code == 0 and len(new) == 2, f"exit {done.code}, outputs {new}")


@row
def pairs(here: Place) -> None:
    """An everyday folder, in which two pairs have one output each."""
    done = here.shell("ctc encode -r pairs")
    for name in ("IMG_1.jpg", "IMG_1.png", "IMG_3.png", "IMG_3.webp"):
        here.expect(name in done.err, f"{name} is not named: {done.err}")
    here.expect(
        bool(re.search(r"[ (]--?\w", done.err.replace("--help", ""))), f"no word what to do: {done.err}"
    )
    here.expect((here / "pairs/IMG_2.ctc").exists() or done.code == 2, f"exit {done.code}, IMG_2 is not done")


@row
def dots(here: Place) -> None:
    """What follows the last dot is no suffix of an image."""
    before = _files(here)
    here.works("ctc encode dots/*")
    new = _files(here) - before
    right = {f"dots/Screen at 10.30.{second}.ctc" for second in (45, 46)}
    here.expect(new == right, f"outputs {sorted(new)}")


@row
def private_input(here: Place) -> None:
    """The output is no more readable than the input."""
    here.works("chmod 600 icon.png; ctc encode icon.png")
    mode = (here / "icon.ctc").stat().st_mode & 0o777
    here.expect(mode == 0o600, f"permissions {mode:o}")


@row
def pillow_save(here: Place) -> None:
    """Arguments that Pillow's own formats take."""
    done = here.shell("python pillow_save.py")
    for line in done.out.splitlines():
        here.expect(line.endswith(": right"), line)
    here.expect(done.code == 0, f"exit {done.code}: {done.err}")


@row
def pillow_draft(here: Place) -> None:
    """The fast ways of the package are those of Pillow's interface too."""
    done = here.works("python pillow_draft.py")
    size = (
        [int(n) for n in re.findall(r"size \((\d+), (\d+)\)", done.out)[0]] if "size" in done.out else [0, 0]
    )
    here.expect(144 <= size[0] < 1152 and 96 <= size[1] < 768, done.out)
    script = (
        "import io, time, ctc_codec, ctc_codec.pillow; from PIL import Image\n"
        "data = ctc_codec.encode(Image.open('scene.png').resize((1152, 768)), bpp=0.5, effort=1)\n"
        "def least(work):\n"
        "    times = []\n"
        "    for _ in range(5):\n"
        "        start = time.perf_counter(); work(); times.append(time.perf_counter() - start)\n"
        "    return min(times)\n"
        "print(least(lambda: ctc_codec.thumbnail(data)),\n"
        "      least(lambda: Image.open(io.BytesIO(data)).thumbnail((128, 128))))\n"
    )
    own, pillows = map(float, here.works(f'python -c "{script}"').out.split())
    here.expect(pillows <= 1.5 * own * here.patience, f"Image.thumbnail {pillows:.3f} s, ours {own:.3f} s")


@row
def long_side(here: Place) -> None:
    """Limits of the output's format are told in one line, before the work."""
    here.works("ctc encode wide.png")
    limits = {
        "jpg": ("JPEG", "655"),
        "webp": ("WebP", "16383"),
        "avif": ("AVIF", "655"),
        "gif": ("GIF", "655"),
        "ico": ("ICO", "256"),
    }
    for suffix, (name, limit) in limits.items():
        done = here.fails(f"ctc decode wide.ctc -o w.{suffix}", 1, name, limit)
        here.expect(len(done.err.splitlines()) == 1, done.err)
        here.expect(not (here / f"w.{suffix}").exists(), f"w.{suffix} is left")


def _files(here: Place) -> set[str]:
    """Names of all files; of those behind a link, the real ones."""
    return {str(path.relative_to(here.folder)) for path in here.folder.rglob("*") if not path.is_dir()}


# --- a newcomer's first hour ------------------------------------------------------------------------


@row
def figures_beside_names(here: Place) -> None:
    """1. Bytes beside a name are those of that file."""
    here.works("ctc encode scene.png")
    size = (here / "scene.ctc").stat().st_size
    for options, output in (("", "scene.jpg"), ("--thumbnail", "t.png")):
        _figures(here, here.works(f"ctc decode scene.ctc {options} -o {output}"), size, output)
    found = json.loads(here.works("ctc decode -f scene.ctc --json -o scene.jpg").out or "{}")
    written = (here / "scene.jpg").stat().st_size
    here.expect(written in found.values(), f"the output has {written} bytes: {found}")
    done = here.works("ctc decode scene.ctc --progressive-every 1000 -o 'f-%02d.png'")
    count = len(list(here.folder.glob("f-*.png")))
    here.expect(count >= 5 and done.says(rf"\b{count}\b"), f"{count} frames: {done.err}")


def _figures(here: Place, done: Done, size: int, output: str) -> None:
    written = (here / output).stat().st_size
    own = done.says(str(written)) and not done.says(str(size))
    here.expect(own or done.says(r"from \d+ bytes"), f"{output} has {written} bytes: {done.err}")


@row
def hint_that_does_no_harm(here: Place) -> None:
    """2. What a message proposes first does not destroy the original."""
    before = (here / "scene.png").read_bytes()
    done = here.shell("ctc encode scene.png; ctc decode scene.ctc")
    here.expect((here / "scene.png").read_bytes() == before, "scene.png is overwritten")
    if done.code:
        first = re.search(r"-o|--output|-f\b|--force", done.last_line)
        here.expect(first is not None and first[0] in ("-o", "--output"), done.last_line)


@row
def checks_before_work(here: Place) -> None:
    """3. Inputs, outputs and options are looked at before anything heavy is loaded."""
    here.works("ctc encode icon.png")
    for line, code in (
        ("ctc encode missing.png", 1),
        ("ctc encode icon.png", 1),
        ("ctc decode icon.png -o x.png", 1),
        ("ctc info icon.ctc", 0),
    ):
        runs = [here.fails(line, code) for _ in range(3)]
        limit = 0.3 if "info" in line else 0.5
        here.soon(limit, min(runs, key=lambda done: done.seconds), line)


@row
def habit_of_quality(here: Place) -> None:
    """4a. A quality from 1 to 100."""
    here.works("ctc encode -q 80 icon.png -o x.ctc")
    here.works("ctc encode --quality 80 icon.png")
    here.expect((here / "icon.ctc").read_bytes() == (here / "x.ctc").read_bytes(), "two spellings, two files")
    here.fails("ctc encode -q 101 icon.png -o y.ctc", 2, "100")


@row
def habit_of_a_second_name(here: Place) -> None:
    """4b."""
    before = _files(here)
    here.fails("ctc encode icon.png out.ctc", 2, "out.ctc", "-o")
    here.expect(_files(here) == before, f"written: {_files(here) - before}")


@row
def habit_of_redirection(here: Place) -> None:
    """4c."""
    here.works("ctc encode icon.png")
    done = here.shell("ctc encode < icon.png > x.ctc")
    if done.code == 0:
        here.expect((here / "x.ctc").read_bytes() == (here / "icon.ctc").read_bytes(), "other bytes")
    else:
        here.expect(done.code == 2 and done.says(r"\B-\B.*(stdin|standard input)"), done.err)


@row
def habits_of_options(here: Place) -> None:
    """4d. Taken, or a message names what does it here."""
    here.works("ctc encode icon.png -o x.ctc; cp icon.png kept.png")
    for line in (
        "ctc encode -c icon.png",
        "ctc decode -d x.ctc",
        "ctc encode -k icon.png",
        "ctc encode --rm icon.png",
        "echo icon.png > names; ctc encode --files-from names",
        "ctc encode --preserve icon.png",
    ):
        done = here.shell(f"rm -f icon.ctc x.png; cp kept.png icon.png; {line}")
        option = next(word for word in line.split("ctc")[1].split() if word.startswith("-"))
        words = re.sub(r"did you mean.*", "", done.err, flags=re.IGNORECASE | re.DOTALL)
        words = words.replace(option, "").replace("--help", "")
        helps = done.code == 2 and re.search(r"(^|[\s'\"(])--?\w|inputs? (are|is)|always|never", words)
        here.expect(done.code == 0 or bool(helps), f"{line}: {done.err}")
        here.expect((here / "icon.png").exists() or "--rm" in line, f"{line}: the input is gone")


@row
def icons_below_a_header(here: Place) -> None:
    """5. A goal per pixel that an icon cannot meet does not fail a batch."""
    done = here.works("ctc encode -r icons --bpp 0.3 -o out")
    for name in ("icon-16", "icon-32", "icon-64", "picture"):
        if here.expect((here / f"out/{name}.ctc").exists(), f"{name}: no output"):
            here.works(f"ctc decode out/{name}.ctc")
    notes = [line for line in done.err.splitlines() if "icon-16" in line and "->" not in line]
    here.expect(bool(notes), f"no note about the smallest: {done.err}")
    icon, back = here.picture("icons/icon-16.png"), here.picture("out/icon-16.png")
    mean = Image.new("RGB", icon.size, tuple(round(float(m)) for m in samples(icon).mean((0, 1))))
    here.at_least(psnr(samples(icon), samples(mean)) - 1, icon, back, "the icon is a picture")


@row
def too_few_bytes_for_a_picture(here: Place) -> None:
    """6. Valid output that is of no use is not made without a word."""
    scene = here.picture("scene.png")
    mean = samples(scene).mean((0, 1))
    flat = psnr(samples(scene), np.broadcast_to(mean, (*scene.size[::-1], 3)))
    for count in (25, 50):
        done = here.works(f"ctc encode -f scene.png --bytes {count} -o x.ctc; ctc decode -f x.ctc -o x.png")
        found = psnr(samples(scene), samples(here.picture("x.png").convert("RGB")))
        notes = [line for line in done.err.splitlines() if "->" not in line]
        told = any("picture" in line and re.search(rf"{count} bytes.*\d", line) for line in notes)
        here.expect(told or found > flat + 1, f"{count} bytes, {found:.1f} dB, no note: {done.err}")
        said = here.works("ctc info x.ctc").says("no picture")
        here.expect(said == told, f"of {count} bytes, encode and info do not say the same")


@row
def ends_of_a_file(here: Place) -> None:
    """7. Where files end is told, not only met."""
    done = here.works("ctc encode scene.png --bpp 5 -o x.ctc")
    notes = [line for line in done.err.splitlines() if "->" not in line]
    here.expect(any("bpp" in line and "dB" in line for line in notes), f"no note of the end: {done.err}")
    done = here.fails("ctc encode scene.png --psnr 60 -o y.ctc", 1, "60 dB", r"[45]\d\.\d+ dB")
    here.expect(not (here / "y.ctc").exists(), "an output that is not what was asked for")
    here.works("ctc encode scene.png --psnr 40 -o z.ctc")
    here.expect(here.works("ctc encode --help").says(r"\b[45]\d dB"), "help does not say where files end")


@row
def formats_that_contradict(here: Place) -> None:
    """8. A name and --format, and how formats are spelt."""
    here.works("ctc encode scene.png")
    done = here.shell("ctc decode scene.ctc --format webp -o z.png")
    here.expect(done.code == 2 or done.says("note.*(webp|png)"), f"exit {done.code}: {done.err}")
    here.works("ctc decode -f scene.ctc --format .jpg -o z.jpg")
    here.expect(here.picture("z.jpg").format == "JPEG", here.picture("z.jpg").format)
    here.expect(here.works("ctc decode --help").says("quality"), "no option for the quality of a JPEG")


_CALLS = {
    "encode of a name": ('encode("icon.png")', "image"),
    "encode of an array": ('encode(numpy.zeros((16, 16, 3), "uint8"))', "image"),
    "decode of a name": ('decode("x.ctc")', "data|bytes"),
    "nbytes=100.7": ("encode(image, nbytes=100.7)", "nbytes"),
    'save with bpp="0.5"': ('image.save("y.ctc", bpp="0.5")', "bpp"),
    "truncate of a memoryview": ("truncate(memoryview(data), bpp=2)", ""),
    "decode of a memoryview": ("decode(memoryview(data))", ""),
    "decode of a bytearray": ("decode(bytearray(data))", ""),
}
"""Expressions of Python, and what a TypeError or ValueError names; each may also work."""


@row
def arguments_of_a_wrong_type(here: Place) -> None:
    """9. Named where they are given; all bytes-like objects are taken alike."""
    here.works("ctc encode icon.png -o x.ctc")
    for what, (call, names) in _CALLS.items():
        method = "" if call.startswith("image") else "ctc_codec."
        script = (
            "import numpy, ctc_codec, ctc_codec.pillow; from PIL import Image\n"
            "image, data = Image.open('icon.png'), open('x.ctc', 'rb').read()\n"
            f"try:\n    {method}{call}\n    print('works')\n"
            "except Exception as error:\n    print(type(error).__name__, error)\n"
        )
        (here / "call.py").write_text(script)
        answer = here.works("python call.py").out.strip()
        told = re.match(r"(TypeError|ValueError) ", answer) and re.search(names, answer)
        here.expect(answer == "works" or bool(names and told), f"{what}: {answer}")


@row
def first_words(here: Place) -> None:
    """10."""
    here.expect(here.shell("ctc").says("usage", "encode"), "ctc alone is no help")
    here.expect(here.works("ctc help encode").says("ctc encode", "--bpp"), "ctc help encode")
    version = here.works("ctc --version").out
    for line in ("ctc version", "ctc -V"):
        here.expect(here.works(line).out == version != "", f"{line}: not the version")
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    here.expect("torch" in readme and "cpu" in readme, "README does not tell of PyTorch's CPU build")
