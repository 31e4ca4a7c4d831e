"""Trials of large jobs, for docs/SCALE.md: what is lost with a worker or a driver, and what an engine costs.

cd tools && python -m scale FOLDER -o ../docs/scale.json

FOLDER has the photographs that small pictures are cut from. Commands are run as a user would. ``--page``
writes the figures of the record into the page.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import random
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from readme_figures import with_section
from reliability.record import record, write

ROOT = Path(__file__).resolve().parents[1]
PAGE, RECORD = ROOT / "docs/SCALE.md", ROOT / "docs/scale.json"
COMMAND = [sys.executable, "-m", "ctc_codec.cli"]
SMALL, LARGE = (128, 96), (768, 512)
_PER_FOLDER = 100


# --- pictures and runs ------------------------------------------------------------------------------


def small_pictures(photographs: Sequence[Path], folder: Path, count: int) -> None:
    """Cut so many pictures out of photographs at random places."""
    chance = random.Random(1)
    images = []
    for path in photographs:
        with Image.open(path) as photograph:
            images.append(photograph.convert("RGB"))
    for number in range(count):
        image = images[number % len(images)]
        left = chance.randrange(image.width - SMALL[0] + 1)
        top = chance.randrange(image.height - SMALL[1] + 1)
        path = folder / f"{number // _PER_FOLDER:02}" / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.crop((left, top, left + SMALL[0], top + SMALL[1])).save(path)


@dataclass(frozen=True)
class Run:
    """A command that has ended.

    code: its exit code.
    steady: files a second, between the first and the last that was told of.
    seconds: of all of it.
    start: seconds until the first was told of.
    lines: its words.
    """

    code: int
    steady: float
    seconds: float
    start: float
    lines: list[str]


def run(*arguments: object, after: Callable[[subprocess.Popen[str], int], None] | None = None) -> Run:
    """Run the command. ``after`` is called with it and the number of files it has told of."""
    begun = time.monotonic()
    lines, times = [], []
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line.rstrip("\n"))
            if " -> " in line:
                times.append(time.monotonic() - begun)
                if after is not None:
                    after(process, len(times))
    steady = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0
    seconds = time.monotonic() - begun
    return Run(process.returncode, steady, seconds, times[0] if times else seconds, lines)


def differing(one: Path, other: Path) -> int:
    """Files below two folders that are not in both with the same bytes."""
    trees = [{str(p.relative_to(top)) for p in top.rglob("*.ctc")} for top in (one, other)]
    _, mismatch, errors = filecmp.cmpfiles(one, other, trees[0] & trees[1], shallow=False)
    return len(trees[0] ^ trees[1]) + len(mismatch) + len(errors)


def statuses(path: Path) -> dict[str, int]:
    """How many rows of a record have which status."""
    database = sqlite3.connect(path)
    found = dict(database.execute("SELECT status, count(*) FROM files GROUP BY status").fetchall())
    database.close()
    return found


def _kill_an_actor() -> int:
    """Kill one that is at work. Returns how many were killed."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::_Actor.run"):
                os.kill(int(path.parent.name), signal.SIGKILL)
                return 1
        except OSError:
            continue
    return 0


# --- trials -----------------------------------------------------------------------------------------


def same_and_fast(pictures: Path, scratch: Path) -> dict[str, Any]:
    """Both halves of the pictures by both engines, in turn: outputs, and files a second after the start."""
    parts = sorted(pictures.iterdir())
    halves = parts[: len(parts) // 2], parts[len(parts) // 2 :]
    speeds: dict[str, list[Run]] = {"local": [], "ray": []}
    for number, (half, order) in enumerate(zip(halves, (("local", "ray"), ("ray", "local")), strict=True)):
        for engine in order:
            options = ["--jobs", 2] if engine == "local" else ["--engine", "ray", "--address", "local"]
            job = scratch / f"{engine}-{number}.sqlite"
            done = run(
                "encode", "-r", *half, "-o", scratch / f"{engine}-{number}/", "--record", job, *options
            )
            assert done.code == 0, done.lines[-3:]
            speeds[engine].append(done)
    steady = {name: statistics.mean(each.steady for each in runs) for name, runs in speeds.items()}
    return {
        "trial": "same",
        "files": sum(1 for _ in pictures.rglob("*.png")),
        "differing": sum(differing(scratch / f"local-{n}", scratch / f"ray-{n}") for n in (0, 1)),
        "files_a_run": sum(1 for part in halves[0] for _ in part.iterdir()),
        "local_files_per_s": [round(each.steady, 2) for each in speeds["local"]],
        "ray_files_per_s": [round(each.steady, 2) for each in speeds["ray"]],
        "overhead": round(steady["local"] / steady["ray"] - 1, 4),
        "local_start_s": round(statistics.mean(each.start for each in speeds["local"]), 1),
        "ray_start_s": round(statistics.mean(each.start for each in speeds["ray"]), 1),
    }


def lost_worker(pictures: Path, scratch: Path) -> dict[str, Any]:
    """An actor is killed in the middle of a job."""
    part, killed = sorted(pictures.iterdir())[:2], 0
    count = sum(1 for folder in part for _ in folder.iterdir())

    def after(process: subprocess.Popen[str], told: int) -> None:
        nonlocal killed
        if told >= count // 2 and not killed:
            killed = _kill_an_actor()

    done = run("encode", "-r", *part, "-o", scratch / "lost/", "--engine", "ray", after=after)
    expected = scratch / "local-0"
    return {
        "trial": "lost worker",
        "files": count,
        "killed": killed,
        "code": done.code,
        "differing": _differing_below(scratch / "lost", expected, part),
        **statuses(scratch / "lost/.ctc-job.sqlite"),
    }


def lost_driver(pictures: Path, scratch: Path) -> dict[str, Any]:
    """The command is killed in the middle of a job, and run again."""
    part = sorted(pictures.iterdir())[:2]
    count = sum(1 for folder in part for _ in folder.iterdir())

    def after(process: subprocess.Popen[str], told: int) -> None:
        if told == count // 2:
            process.kill()

    command = ("encode", "-r", *part, "-o", scratch / "driver/", "--engine", "ray")
    first = run(*command, after=after)
    database = scratch / "driver/.ctc-job.sqlite"
    before = statuses(database)
    written = sum(1 for _ in (scratch / "driver").rglob("*.ctc"))
    second = run(*command)
    again = sum(" -> " in line for line in second.lines)
    return {
        "trial": "lost driver",
        "files": count,
        "first_code": first.code,
        "code": second.code,
        "done_before": before["done"],
        "written_before": written,
        "done_again": again,
        "differing": _differing_below(scratch / "driver", scratch / "local-0", part),
        **statuses(database),
    }


def _differing_below(one: Path, other: Path, parts: Sequence[Path]) -> int:
    """As :func:`differing`, of a job that had only some of the pictures."""
    wanted = {f"{path.stem}.ctc" for part in parts for path in part.iterdir()}
    found = {path.name: path for path in one.rglob("*.ctc")}
    theirs = {path.name: path for path in other.rglob("*.ctc")}
    return sum(
        name not in found or found[name].read_bytes() != theirs[name].read_bytes()
        for name in wanted | set(found)
    )


def corrupt_inputs(pictures: Path, scratch: Path) -> dict[str, Any]:
    """Twenty pictures that are cut or changed, among others."""
    folder = scratch / "corrupt"
    folder.mkdir()
    sources = sorted(pictures.rglob("*.png"))[:40]
    for number, source in enumerate(sources):
        data = bytearray(source.read_bytes())
        if number % 4 == 0:
            del data[len(data) // 2 :]
        elif number % 4 == 2:
            data[12:16] = b"none"
        (folder / source.name).write_bytes(data)
    done = run("encode", "-r", folder, "-o", scratch / "of-corrupt/", "--engine", "ray")
    database = sqlite3.connect(scratch / "of-corrupt/.ctc-job.sqlite")
    errors = database.execute("SELECT count(*) FROM files WHERE error IS NOT NULL").fetchone()[0]
    database.close()
    return {
        "trial": "corrupt inputs",
        "files": len(sources),
        "corrupt": 20,
        "errors": errors,
        "code": done.code,
        **statuses(scratch / "of-corrupt/.ctc-job.sqlite"),
    }


def throughput(photographs: Sequence[Path], scratch: Path) -> Iterator[dict[str, Any]]:
    """Photographs of 0.39 megapixels with one and two actors, of one thread each."""
    folder = scratch / "photographs"
    folder.mkdir()
    for path in photographs:
        shutil.copy(path, folder)
    for command, source in (("encode", folder), ("decode", scratch / "coded-1")):
        for workers in (1, 2):
            target = scratch / f"{command[:2]}coded-{workers}" if command == "decode" else None
            target = target or scratch / f"coded-{workers}"
            done = run(
                command,
                "-r",
                source,
                "-o",
                f"{target}/",
                "--engine",
                "ray",
                "--jobs",
                workers,
                "--threads",
                1,
            )
            assert done.code == 0, done.lines[-3:]
            pixels = LARGE[0] * LARGE[1]
            yield {
                "trial": "throughput",
                "command": command,
                "workers": workers,
                "files": len(photographs),
                "files_per_s": round(done.steady, 3),
                "mpixel_per_s": round(done.steady * pixels / 1e6, 4),
            }


def driver(scratch: Path, count: int) -> dict[str, Any]:
    """Processor time of the driver for a file, while actors do the smallest work there is: cutting files, all
    of them links to one."""
    folder = scratch / "links"
    source = next((scratch / "local-0").rglob("*.ctc"))
    for number in range(count):
        path = folder / f"{number // 1000:03}" / f"{number:06}.ctc"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(source.resolve())
    marks: list[tuple[int, float]] = []

    def after(process: subprocess.Popen[str], told: int) -> None:
        if told % 1000 == 0:
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            marks.append((told, sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")))

    options = ("--engine", "ray", "--jobs", 2)
    done = run("truncate", "--bytes", 200, "-r", folder, "-o", scratch / "cut/", *options, after=after)
    assert done.code == 0, done.lines[-3:]
    (first, before), (last, then) = marks[0], marks[-1]
    return {
        "trial": "driver",
        "files": count,
        "files_per_s": round(done.steady, 1),
        "driver_ms_per_file": round(1000 * (then - before) / (last - first), 3),
    }


_PLAN = """
import resource, sys, time
from ctc_codec.cli.inputs import ctc_suffixes, plan
from ctc_codec.cli.options import BatchOptions
from ctc_codec.cli.record import Record
count = int(sys.argv[1])
names = tuple(f"s3://bucket/photographs/{i // 1000:06}/{i:09}.ctc" for i in range(count))
before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
batch = BatchOptions(output="s3://other/copies/", listed=count)
tasks = plan(names, batch, ".ctc", ctc_suffixes).tasks
planned = time.perf_counter()
with Record(sys.argv[2], "a job") as record:
    record.sort(tasks, lambda row: True, lambda task: False)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(planned - begun, time.perf_counter() - planned, after - before)
"""


def planning(scratch: Path, count: int) -> dict[str, Any]:
    """Names of a manifest up to their rows in a record."""
    database = scratch / "plan.sqlite"
    done = subprocess.run(
        [sys.executable, "-c", _PLAN, str(count), str(database)], check=True, capture_output=True, text=True
    )
    planned, noted, more = map(float, done.stdout.split())
    return {
        "trial": "planning",
        "files": count,
        "plan_s": round(planned, 1),
        "record_s": round(noted, 1),
        "bytes_per_file": round(1024 * more / count),
        "record_bytes_per_file": round(database.stat().st_size / count),
    }


# --- the page ---------------------------------------------------------------------------------------

_DOLLARS = 0.04
"""Of a core-hour, which readers replace by what theirs costs."""
_MODEL = (1, 2, 4, 16, 64, 256, 1024)


def of(content: dict[str, Any], trial: str) -> list[dict[str, Any]]:
    """The rows of a trial."""
    return [row for row in content["rows"] if row["trial"] == trial]


def trial_lines(content: dict[str, Any]) -> Iterator[str]:
    """What was tried, and what came of it."""
    (same,), (worker,) = of(content, "same"), of(content, "lost worker")
    (lost,), (corrupt,) = of(content, "lost driver"), of(content, "corrupt inputs")
    yield f"{content['date']}, {content['machine']}."
    yield ""
    yield "| trial | |"
    yield "|---|---|"
    yield (
        f"| {same['files']:,} pictures of {SMALL[0]}x{SMALL[1]} by `--engine ray` with two actors "
        f"and by `--jobs 2` | {same['differing']} outputs differ |"
    )
    yield (
        f"| one of two actors killed (`kill -9`) in the middle of {worker['files']} | "
        f"exit code {worker['code']}, {worker['done']} done, {worker['differing']} outputs differ |"
    )
    yield (
        f"| the command killed in the middle of {lost['files']}, and run again | "
        f"{lost['done_before']} rows were done, the second run did the other {lost['done_again']}; "
        f"exit code {lost['code']}, {lost['differing']} outputs differ |"
    )
    yield (
        f"| {corrupt['corrupt']} corrupt pictures among {corrupt['files']} | "
        f"{corrupt['errors']} rows with an error, {corrupt['done']} done, exit code {corrupt['code']} |"
    )
    yield (
        f"| time a file, against `--jobs 2` on the same {same['files_a_run']:,} pictures, "
        f"after the start | {100 * same['overhead']:+.1f} % |"
    )
    yield (
        f"| start, until the first file is done | {same['ray_start_s']:.0f} s, "
        f"without Ray {same['local_start_s']:.0f} s |"
    )


def model(content: dict[str, Any], command: str) -> dict[str, float]:
    """The terms of the model of a command: seconds a file of one actor, what each further actor loses of
    it by sharing this machine, and seconds a file of the driver."""
    one, two = (row for row in of(content, "throughput") if row["command"] == command)
    (driver_row,) = of(content, "driver")
    return {
        "actor_s": 1 / one["files_per_s"],
        "sharing": 2 * one["files_per_s"] / two["files_per_s"] - 1,
        "driver_s": driver_row["driver_ms_per_file"] / 1000,
    }


def throughput_lines(content: dict[str, Any]) -> Iterator[str]:
    """Measured with one and two actors, the rest by the model; and what a million photographs cost."""
    yield (
        "| actors | "
        + " | ".join(f"{name}, files/s | hours a million" for name in ("encode", "decode"))
        + " | |"
    )
    yield "|---|---|---|---|---|---|"
    for workers in _MODEL:
        cells = []
        for command in ("encode", "decode"):
            measured = {
                row["workers"]: row["files_per_s"]
                for row in of(content, "throughput")
                if row["command"] == command
            }
            terms = model(content, command)
            speed = measured.get(workers) or min(
                workers / terms["actor_s"] / (1 + max(terms["sharing"], 0)), 1 / terms["driver_s"]
            )
            cells += [f"{speed:.2f}" if speed < 100 else f"{speed:.0f}", f"{1e6 / speed / 3600:.1f}"]
        yield f"| {workers:,} | {' | '.join(cells)} | {'measured' if workers < 3 else 'model'} |"


def term_lines(content: dict[str, Any]) -> Iterator[str]:
    """The terms of the model, and what planning takes."""
    (plan,), (driver_row,) = of(content, "planning"), of(content, "driver")
    for command in ("encode", "decode"):
        one, two = (row for row in of(content, "throughput") if row["command"] == command)
        terms = model(content, command)
        hours = 1e6 * terms["actor_s"] * (1 + max(terms["sharing"], 0)) / 3600
        yield (
            f"- {command}: {one['mpixel_per_s']:.2f} Mpixel/s an actor of one thread, "
            f"{two['mpixel_per_s']:.2f} with two (t = {terms['actor_s']:.2f} s a file, "
            f"s = {100 * terms['sharing']:.0f} %): {hours:,.0f} core-hours for "
            f"a million pictures of 768x512, {hours * _DOLLARS:,.2f} $ at {_DOLLARS} $ each"
        )
    yield (
        f"- the driver takes {driver_row['driver_ms_per_file']:.2f} ms of a core for a file (d; over "
        f"{driver_row['files']:,} files that actors only cut): at most "
        f"{1000 / driver_row['driver_ms_per_file']:,.0f} files a second for one command"
    )
    yield (
        f"- names: {plan['files']:,} of them take {plan['plan_s']:.0f} s to plan and "
        f"{plan['record_s']:.0f} s to note, {plan['bytes_per_file']} bytes of memory and "
        f"{plan['record_bytes_per_file']} bytes of record each"
    )


_LINES = {"trials": trial_lines, "throughput": throughput_lines, "terms": term_lines}


def renewed() -> str:
    """The page as the committed record makes it."""
    text, content = PAGE.read_text("utf-8"), json.loads(RECORD.read_text("utf-8"))
    for name, lines in _LINES.items():
        text = with_section(text, "\n".join(lines(content)), f"<!-- {name} -->")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="photographs")
    parser.add_argument("-o", "--output", type=Path, default=RECORD)
    parser.add_argument("--files", type=int, default=2000, help="small pictures (%(default)s)")
    parser.add_argument("--names", type=int, default=1_000_000, help="names that are planned (%(default)s)")
    parser.add_argument("--page", action="store_true")
    given = parser.parse_args()
    if given.folder is not None:
        photographs = sorted(given.folder.glob("*.png"))
        with tempfile.TemporaryDirectory() as name:
            scratch, pictures = Path(name), Path(name) / "pictures"
            small_pictures(photographs, pictures, given.files)
            rows = []
            for trial in (same_and_fast, lost_worker, lost_driver, corrupt_inputs):
                rows.append(trial(pictures, scratch))
                print(rows[-1], flush=True)
            rows += [*throughput(photographs, scratch), driver(scratch, 10 * given.files)]
            rows.append(planning(scratch, given.names))
        write(given.output, record({"files": given.files}, rows))
    if given.page:
        PAGE.write_text(renewed(), "utf-8")


if __name__ == "__main__":
    main()
