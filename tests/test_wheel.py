"""The package as users get it: a wheel that carries its weights and works from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import ctc_codec
from bench import synthetic_image

ROOT = Path(__file__).parents[1]


def test_wheel_codes_an_image_from_another_folder(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*build, "-w", str(tmp_path)], check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"ctc_codec-{ctc_codec.__version__}-")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert "ctc_codec/weights/ctc.safetensors" in names
        assert "ctc_codec/py.typed" in names
        assert "ctc_codec/evaluation/page.html.jinja" in names
        assert not [name for name in names if "test" in name]
        archive.extractall(tmp_path / "site")
    synthetic_image(64, 48).save(tmp_path / "a.png")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    environment.pop("CTC_WEIGHTS", None)
    for command in (["encode", "a.png"], ["decode", "a.ctc", "-o", "b.png"]):
        subprocess.run(
            [sys.executable, "-m", "ctc_codec.cli", *command], check=True, cwd=tmp_path, env=environment
        )
    where = subprocess.run(
        [sys.executable, "-c", "import ctc_codec; print(ctc_codec.__file__)"],
        check=True,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert str(tmp_path) in where.stdout
    assert (tmp_path / "b.png").stat().st_size > 1000
