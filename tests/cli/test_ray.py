"""The Ray engine: the same outputs, actors and drivers that are lost, clusters that are not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import ctc_codec
from ctc_codec.cli import ray_engine
from ctc_codec.cli.encode import EncodeWork
from ctc_codec.cli.inputs import Task
from ctc_codec.cli.options import BatchOptions, ComputeOptions
from ctc_codec.cli.ray_engine import _cpus_of_each
from ctc_codec.codec.model import default_weights
from ctc_codec.codec.options import EncodeOptions
from ctc_codec.container import storage
from support.command import (
    FAKE,
    assert_misused,
    assert_refused,
    begin,
    ctc,
    ended,
    files_below,
    run,
    wait_until,
)
from support.servers import BUCKET, Site

from .test_record import noted, rows, tries

_CLUSTER = """
import logging, ray
ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100_000_000, logging_level=logging.CRITICAL)
print(ray.get_runtime_context().gcs_address, flush=True)
input()
"""
RAY = ("--engine", "ray", "--record", "job.sqlite")


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    """The environment of a command that uses a cluster of two CPUs."""
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    with subprocess.Popen(
        [sys.executable, "-c", _CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        address = process.stdout.readline().decode().strip()
        assert address
        try:
            yield environment | {"RAY_ADDRESS": address}
        finally:
            process.stdin.write(b"\n")
            process.stdin.flush()


def _actors() -> list[int]:
    """Numbers of the processes of our actors."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::_Actor"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


# --- outputs ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_cluster_is_made_where_there_is_none(files: Path) -> None:
    """And its outputs, words and record are those of this process."""
    for name in ("a", "b"):
        Path(f"in/{name}.png").parent.mkdir(exist_ok=True)
        Path(f"in/{name}.png").write_bytes(Path("photo.png").read_bytes())
    Path("in/bad.png").write_bytes(Path("photo.png").read_bytes()[:500])
    free = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    one = run("encode", "-e", 1, "--manifest", "in", "-o", "one", "--json", "--record", "one.sqlite")
    ray = run("encode", "-e", 1, "--manifest", "in", "-o", "ray", "--json", "--engine", "ray", env=free)
    assert one.code == ray.code == 1
    assert files_below(Path("ray")) == [".ctc-job.sqlite", "a.ctc", "b.ctc"]
    for name in ("a.ctc", "b.ctc"):
        assert (Path("ray") / name).read_bytes() == (Path("one") / name).read_bytes()
    told = [
        sorted(
            str(facts | {"seconds": None, "output": Path(facts.get("output", "")).name})
            for facts in result.objects
        )
        for result in (one, ray)
    ]
    assert told[0] == told[1]
    assert [line for line in ray.lines if "bad.png" in line] == [
        line for line in one.lines if "bad.png" in line
    ]
    columns = "source, status, bytes, bpp, psnr, error, sha256, read_bytes, tries"
    assert rows("ray/.ctc-job.sqlite", columns) == rows("one.sqlite", columns)


@pytest.mark.slow
def test_decoding_and_cutting_give_the_same(shelf: Path, cluster: dict[str, str]) -> None:
    for bad in ("in/b/bad.ctc", "in/worse.ctc"):
        Path(bad).write_bytes(b"nothing")
    for command in (("truncate", "--bytes", 900), ("decode", "--bpp", "0.5", "--format", "ppm")):
        record = ("--record", f"{command[0]}.sqlite")
        assert run(*command, "-r", "in", "-o", "one").code == 1
        result = run(*command, "-r", "in", "-o", "ray", "--engine", "ray", *record, env=cluster)
        assert result.code == 1, result
        assert result.counts == (4, 2, 0)
        assert [row["source"] for row in rows(record[1]) if row["error"]] == ["in/b/bad.ctc", "in/worse.ctc"]
        for name in files_below(Path("one")):
            assert (Path("ray") / name).read_bytes() == (Path("one") / name).read_bytes()
        assert files_below(Path("ray")) == files_below(Path("one"))
        assert ctc(*command, "-r", "in", "-o", "ray", *record).counts == (0, 2, 4)


@pytest.mark.slow
def test_shards_of_actors(shelf: Path, cluster: dict[str, str], photo_ctc: bytes) -> None:
    result = run(
        "truncate", "--bytes", 900, "-r", "in", "-o", "ray", "--pack", "webdataset", *RAY, env=cluster
    )
    assert result.code == 0, result
    assert ctc("truncate", "--bytes", 900, "ray/ctc-000000.tar", "-o", "back/").code == 0
    assert files_below(Path("back")) == ["a/w.ctc", "b/c/x.ctc", "b/y.ctc", "z.ctc"]
    assert {path.read_bytes() for path in Path("back").rglob("*.ctc")} == {photo_ctc[:900]}


@pytest.mark.slow
def test_weights_travel_to_actors(files: Path, cluster: dict[str, str]) -> None:
    Path("w.safetensors").write_bytes(default_weights().read_bytes())
    options = ("encode", "photo.png", "-e", 1, "--weights", "w.safetensors")
    assert run(*options, "-o", "one.ctc").code == 0
    assert run(*options, "-o", "ray.ctc", *RAY, "--jobs", 1, env=cluster).code == 0
    assert Path("ray.ctc").read_bytes() == Path("one.ctc").read_bytes()


def test_weights_need_not_be_on_the_machine_of_an_actor(files: Path) -> None:
    compute = ComputeOptions(weights="elsewhere.safetensors")
    work = EncodeWork(EncodeOptions(effort=1), BatchOptions(), compute=compute)
    run_on = ray_engine._prepared_with(work, default_weights().read_bytes())
    coded = run_on(Path("photo.png").read_bytes(), Task("photo.png"), print).output
    assert coded == ctc_codec.encode(Image.open("photo.png"), effort=1)
    with pytest.raises(ctc_codec.WeightsError, match=r"^elsewhere\.safetensors: "):
        ray_engine._prepared_with(work, b"no weights")


@pytest.mark.slow
def test_from_store_to_store(files: Path, bucket: Site) -> None:
    """The secrets of which are in the environment of all processes, and the record in this folder."""
    photo = Path("photo.png").read_bytes()
    for name, data in {"a/1.png": photo, "2.png": photo, "bad.png": photo[:500]}.items():
        storage.write(f"s3://{BUCKET}/in/{name}", data)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    command = (
        "encode",
        "-e",
        1,
        "--engine",
        "ray",
        "-o",
        f"s3://{BUCKET}/out",
        "--manifest",
        f"s3://{BUCKET}/in/",
    )
    result = run(*command, env=environment)
    assert result.code == 1, result
    assert result.counts == (2, 1, 0)
    expected = ctc_codec.encode(Image.open("photo.png"), effort=1)
    assert storage.sizes(f"s3://{BUCKET}/out") == dict.fromkeys(("2.ctc", "a/1.ctc"), len(expected))
    for name in ("2.ctc", "a/1.ctc"):
        assert storage.read_part(f"s3://{BUCKET}/out/{name}", 0, 1 << 20) == expected
    (record,) = Path().glob("ctc-job-*.sqlite")
    storage.remove(f"s3://{BUCKET}/out/2.ctc")
    here = [word for word in command if word not in ("--engine", "ray")]
    assert ctc(*here, "--record", record).counts == (1, 1, 1)
    assert tries(str(record)) == {
        f"s3://{BUCKET}/in/{name}": count for name, count in {"a/1.png": 1, "2.png": 2, "bad.png": 2}.items()
    }


# --- what is lost -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_kills_actors_fails_alone(here: Path, cluster: dict[str, str]) -> None:
    """After three of them, and no word of it gets onto stdout."""
    inputs = [f"{i:02}.in" for i in range(40)] + ["a.killed.in", "b.torn.in"]
    result = ended(begin(FAKE, *inputs, "-o", "out/", "--json", *RAY, env=cluster))
    assert result.code == 1, result
    assert result.counts == (40, 2, 0)
    assert {row["source"]: row["error"] for row in rows() if row["error"]} == {
        "a.killed.in": "3 actors were lost with it (out of memory?)",
        "b.torn.in": "3 actors were lost with it (out of memory?)",
    }
    assert len(result.objects) == 42  # each line is one
    assert sum("an actor was lost" in line for line in result.lines) >= 6
    assert files_below(Path("out")) == [f"{i:02}.out" for i in range(40)]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs to find processes")
def test_job_survives_the_loss_of_actors(here: Path, cluster: dict[str, str]) -> None:
    inputs = [f"{i:02}.slow.in" for i in range(24)]
    process = begin(FAKE, *inputs, "-o", "out/", *RAY, env=cluster)
    wait_until(lambda: len(list(Path("out").glob("*.out"))) >= 4, 60)
    for number in _actors():
        os.kill(number, signal.SIGKILL)
    result = ended(process)
    assert result.code == 0, result
    assert result.counts == (24, 0, 0)
    assert any("an actor was lost: what it had is done again" in line for line in result.lines)
    assert files_below(Path("out")) == [f"{i:02}.slow.out" for i in range(24)]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_rerun_does_only_the_rest(here: Path, cluster: dict[str, str], number: int) -> None:
    inputs = [f"{i:02}.slow.in" for i in range(24)]
    command = (*inputs, "-o", "out/", *RAY)
    process = begin(FAKE, *command, env=cluster)
    wait_until(lambda: noted() >= 3, 60)
    process.send_signal(number)
    first = ended(process)
    assert first.code == (130 if number == signal.SIGINT else -number)
    wait_until(lambda: not _actors(), 60)
    done = {row["source"] for row in rows() if row["status"] == "done"}
    assert len(done) >= 3
    result = ended(begin(FAKE, *command, env=cluster))
    assert result.code == 0, result
    assert result.counts == (24 - len(done), 0, len(done))
    assert set(tries().values()) == {1}
    assert files_below(Path("out")) == [f"{i:02}.slow.out" for i in range(24)]  # no partial ones


# --- what cannot work -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("fails", ["error", "killed"])
def test_actors_that_cannot_load_end_the_job(here: Path, cluster: dict[str, str], fails: str) -> None:
    command = ("1.in", "-o", "out/", *RAY, "--jobs", 1)
    result = ended(begin(FAKE, *command, env=cluster | {"FAKE_FAILS": fails}))
    assert result.code == 1
    assert "Traceback" not in result.err
    if fails == "error":
        assert result.lines[-1] == "ctc: nothing can be loaded"
    assert [row["status"] for row in rows()] == ["waiting"]


@pytest.mark.slow
def test_wrong_weights_are_told(files: Path, cluster: dict[str, str]) -> None:
    Path("w.safetensors").write_bytes(b"no weights")
    options = ("--weights", "w.safetensors", *RAY, "--jobs", 1)
    result = run("encode", "photo.png", "-o", "a.ctc", *options, env=cluster)
    assert result.code == 1
    assert result.lines[-1].startswith("ctc: w.safetensors: "), result


def test_clusters_that_are_not_there(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    command = ("truncate", "-r", "in", "--bytes", 99, "-o", "out")
    begun = time.monotonic()
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1"):
        assert_refused(ctc(*command, *RAY, "--address", address), f"no Ray cluster at {address}", "refused")
    assert time.monotonic() - begun < 20
    assert_misused(ctc(*command, "--address", "auto"), "--engine ray")


def test_ray_may_be_missing(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    result = ctc("truncate", "-r", "in", "--bytes", 99, "-o", "out", *RAY)
    assert_refused(result, "--engine ray needs pip install 'ctc-codec[ray]'")


def test_what_is_of_one_process_alone(files: Path) -> None:
    for options in (("--engine", "ray"), ("--jobs", 2)):
        result = ctc("truncate", "whole.ctc", "--bytes", 99, "-o", "memory://a.ctc", *options)
        assert_misused(result, "memory:// is of this process alone")
    assert_misused(ctc("truncate", "-", "--bytes", 99, "-o", "a.ctc", "--engine", "ray"), "not with pipes")


def test_nothing_to_do_needs_no_cluster(shelf: Path) -> None:
    command = ("truncate", "-r", "in", "--bytes", 99, "-o", "out", "--record", "job.sqlite")
    assert ctc(*command).code == 0
    assert ctc(*command, "--engine", "ray", "--address", "127.0.0.1:1").counts == (0, 0, 4)


# --- how work is dealt ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "threads", "total", "expected"),
    [
        (2, 1, 2, 1),
        (1, 4, 8, 4),
        (4, 1, 2, 0.5),
        (2, 4, 6, 3),
        (3, 2, 4, 1),
        (1000, 1, 2, 0.01),
        (3, 1, 2, 0.66),
    ],
)
def test_actors_always_fit(count: int, threads: int, total: float, expected: float) -> None:
    assert _cpus_of_each(count, threads, total) == expected
    assert count * expected <= total or expected == 0.01


def test_only_data_goes_to_stdout(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with ray_engine._only_data_on_stdout():
        print("words of a library")
        sys.stdout.buffer.write(b"data\n")
        sys.stdout.flush()
    print("words of ours", flush=True)
    assert capfdbinary.readouterr().out == b"data\nwords of ours\n"
