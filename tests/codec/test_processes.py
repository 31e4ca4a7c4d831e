"""Cores and memory: of affinity, and of control groups of both versions as a system shows them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ctc_codec.codec import processes
from ctc_codec.codec.processes import cores, free_memory

GB = 10**9
Files = dict[str, str]


@pytest.fixture(autouse=True)
def _many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes.os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


def system(folder: Path, groups: str, mounts: str, files: Files) -> str:
    """A folder that tells what /proc would. FOLDER in ``mounts`` is that of ``files``."""
    for name, text in {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("FOLDER", str(folder)))
    return str(folder / "proc")


OTHER = "22 27 0:21 / /proc rw,relatime - proc proc rw\n24 1 0:5 / /dev rw - devtmpfs dev rw\n"
SECOND = OTHER + "35 24 0:30 / FOLDER/all rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
FIRST = OTHER + (
    "33 31 0:29 / FOLDER/cpu rw,relatime shared:15 - cgroup cgroup rw,cpu,cpuacct\n"
    "34 31 0:30 / FOLDER/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
    "36 31 0:32 / FOLDER/memory rw,relatime - cgroup cgroup rw,memory\n"
)
INSIDE_FIRST = FIRST.replace("0:29 / ", "0:29 /docker/1 ")


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "expected"),
    [
        ("0::/\n", SECOND, {"all/cpu.max": "max 100000\n"}, 16),
        ("0::/\n", SECOND, {"all/cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", SECOND, {"all/cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", SECOND, {"all/cpu.max": "10000 100000\n"}, 1),
        ("0::/\n", SECOND, {"all/cpu.max": "9900000 100000\n"}, 16),
        ("0::/a/b\n", SECOND, {"all/a/b/cpu.max": "max 100000\n", "all/a/cpu.max": "300000 100000\n"}, 3),
        ("0::/a/b\n", SECOND, {"all/a/b/cpu.max": "50000 25000\n", "all/a/cpu.max": "300000 100000\n"}, 2),
        ("0::/a/b\n", SECOND, {"all/a/b/cpu.max": "rubbish\n", "all/cpu.max": "400000 100000\n"}, 4),
        ("0::/../x\n", SECOND, {"all/cpu.max": "400000 100000\n"}, 4),
        (
            "4:cpu,cpuacct:/\n0::/\n",
            FIRST,
            {"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            3,
        ),
        ("4:cpu:/\n", FIRST, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 16),
        ("3:cpuset:/\n", FIRST, {"cpuset/cpu.cfs_quota_us": "1\n", "cpuset/cpu.cfs_period_us": "1\n"}, 16),
        (
            "4:cpu:/docker/1\n",
            INSIDE_FIRST,
            {"cpu/cpu.cfs_quota_us": "500000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            5,
        ),
        (
            "4:cpu:/docker/1/in\n",
            INSIDE_FIRST,
            {"cpu/in/cpu.cfs_quota_us": "600000\n", "cpu/in/cpu.cfs_period_us": "100000\n"},
            6,
        ),
        ("", "", {}, 16),
        ("no line of a group", SECOND, {"all/cpu.max": "100000 100000\n"}, 16),
    ],
)
def test_cores_are_those_of_the_quota(
    tmp_path: Path, groups: str, mounts: str, files: Files, expected: int
) -> None:
    assert cores(system(tmp_path, groups, mounts, files)) == expected


def test_cores_are_those_of_the_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proc = system(tmp_path, "0::/\n", SECOND, {"all/cpu.max": "400000 100000\n"})
    monkeypatch.setattr(processes.os, "sched_getaffinity", lambda _: {1, 5, 6})
    assert cores(proc) == 3
    assert cores(str(tmp_path / "missing")) == 3


MEMORY = {"proc/meminfo": "MemTotal:       9000000 kB\nMemAvailable:    8000000 kB\n"}


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "expected"),
    [
        ("0::/\n", SECOND, {}, 8_192_000_000),
        ("0::/\n", SECOND, {"all/memory.max": "max\n", "all/memory.current": "1\n"}, 8_192_000_000),
        (
            "0::/a\n",
            SECOND,
            {"all/a/memory.max": f"{3 * GB}\n", "all/a/memory.current": f"{2 * GB}\n"},
            GB,
        ),
        (
            "0::/a/b\n",
            SECOND,
            {
                "all/a/memory.max": f"{3 * GB}\n",
                "all/a/memory.current": f"{2 * GB}\n",
                "all/a/memory.stat": f"anon 5\nfile 7\ninactive_file {GB // 2}\n",
            },
            GB + GB // 2,
        ),
        ("0::/\n", SECOND, {"all/memory.max": "1000\n", "all/memory.current": "1001\n"}, 0),
        (
            "9:memory:/\n",
            FIRST,
            {
                "memory/memory.limit_in_bytes": f"{2 * GB}\n",
                "memory/memory.usage_in_bytes": f"{GB}\n",
                "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 5000\n",
            },
            GB + 5000,
        ),
        (
            "9:memory:/\n",
            FIRST,
            {
                "memory/memory.limit_in_bytes": "9223372036854771712\n",
                "memory/memory.usage_in_bytes": "77\n",
            },
            8_192_000_000,
        ),
    ],
)
def test_free_memory_is_that_of_the_machine_and_of_the_groups(
    tmp_path: Path, groups: str, mounts: str, files: Files, expected: int
) -> None:
    assert free_memory(system(tmp_path, groups, mounts, MEMORY | files)) == expected


def test_free_memory_is_not_known_everywhere(tmp_path: Path) -> None:
    assert free_memory(str(tmp_path)) is None


def test_this_system_can_be_asked() -> None:
    script = "import sys; from ctc_codec.codec import processes as p; print(p.cores(), p.free_memory())"
    told = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout.split()
    assert 1 <= int(told[0]) <= (os.cpu_count() or 1)
    if sys.platform == "linux":
        assert int(told[1]) > 0
