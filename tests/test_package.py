"""The package as a whole: its public names, which part may import which, and what a user installs."""

from __future__ import annotations

import ast
import functools
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ctc_codec

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "ctc_codec"

PUBLIC = [
    "CodecModel", "CtcError", "DamageError", "DecodeOptions", "DecodedLatent", "Decoder",
    "EncodeOptions", "FormatError", "Header", "Info", "InputError", "LimitError", "OutputError",
    "TargetError", "WeightsError", "decode", "encode", "info", "load_model", "register_pillow",
    "thumbnail", "truncate",
]  # fmt: skip

LAYERS = (
    {"errors"}, {"container"}, {"image"}, {"transform"}, {"planes"}, {"crr"}, {"synthesis"}, {"codec"},
    {"pillow", "torch_dataset"}, {"__init__"}, {"training", "evaluation"}, {"cli"},
)  # fmt: skip
"""From bottom to top: an import points down this list, or stays in its package."""

PARTS = {part for layer in LAYERS for part in layer}


# --- names ------------------------------------------------------------------------------------------


def test_public_names() -> None:
    assert ctc_codec.__all__ == PUBLIC
    assert all(getattr(ctc_codec, name) is not None for name in PUBLIC)
    errors = [name for name in PUBLIC if name.endswith("Error")]
    assert all(issubclass(getattr(ctc_codec, name), ctc_codec.CtcError) for name in errors)
    assert issubclass(ctc_codec.DamageError, ctc_codec.FormatError)
    with pytest.raises(AttributeError, match="no attribute 'compress'"):
        _ = ctc_codec.compress


def test_dir_shows_the_public_names_and_no_other() -> None:
    """Besides dunders and the packages themselves, in a process that has used nothing else."""
    shown = _python("import ctc_codec; print(*(name for name in dir(ctc_codec) if name[:1] != '_'))").split()
    assert set(shown) - PARTS == set(PUBLIC)


def test_import_loads_no_library() -> None:
    heavy = {"torch", "numpy", "PIL", "onnxruntime", "constriction", "click"}
    loaded = _python("import sys, ctc_codec; print(*sys.modules)").split()
    assert {name for name in loaded if name.startswith("ctc_codec")} == {"ctc_codec", "ctc_codec.errors"}
    assert not heavy.intersection(loaded)


def test_cutting_and_describing_load_no_library() -> None:
    script = (
        "import sys, ctc_codec; ctc_codec.truncate, ctc_codec.info, ctc_codec.Header; print(*sys.modules)"
    )
    assert not {"numpy", "PIL", "onnxruntime", "constriction", "click"}.intersection(_python(script).split())


def _python(script: str, **options: str | Path | dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, **options  # type: ignore[call-overload]
    )  # fmt: skip
    return str(done.stdout)


# --- imports ----------------------------------------------------------------------------------------


def _imports(path: Path) -> Iterator[str]:
    """Full names of all that a module imports, in functions and for type checkers too."""
    package = ["ctc_codec", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


@functools.cache
def _modules() -> dict[str, set[str]]:
    """Path below the package -> what that module imports."""
    return {
        path.relative_to(PACKAGE).as_posix(): set(_imports(path)) for path in sorted(PACKAGE.rglob("*.py"))
    }


def test_imports_point_down() -> None:
    height = {part: at for at, layer in enumerate(LAYERS) for part in layer}
    upward = []
    for module, imports in _modules().items():
        own = module.split("/")[0].removesuffix(".py")
        for name in sorted(imports):
            package, _, rest = name.partition(".")
            part = rest.partition(".")[0] if rest.partition(".")[0] in PARTS else "__init__"
            if package == "ctc_codec" and part != own and height[part] >= height[own]:
                upward.append(f"{module} imports {name}")
    assert upward == []


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("constriction", lambda module: module == "container/coder.py"),
        (
            "torch",
            lambda module: module.startswith(
                ("torch_dataset.py", "training/", "evaluation/metrics.py", "cli/train.py")
            ),
        ),
        ("click", lambda module: not module.startswith(("training/", "evaluation/"))),
    ],
)
def test_libraries_stay_where_they_belong(library: str, allowed: Callable[[str], bool]) -> None:
    using = [
        module
        for module, imports in _modules().items()
        if library in {name.partition(".")[0] for name in imports}
    ]
    assert using
    assert [module for module in using if not allowed(module)] == []


def test_every_part_has_its_layer_and_there_are_few() -> None:
    entries = {path.stem for path in PACKAGE.iterdir()} - {"__pycache__", "py"}
    assert entries == PARTS
    assert len(entries - {"__init__"}) <= 13


def test_no_function_has_more_than_seven_parameters() -> None:
    long = []
    for path in sorted([*PACKAGE.rglob("*.py"), *(ROOT / "tools").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            found = node.args
            named = [each.arg for each in (*found.posonlyargs, *found.args, *found.kwonlyargs)]
            count = len([name for name in named if name not in ("self", "cls")])
            count += (found.vararg is not None) + (found.kwarg is not None)
            if count > 7:
                name = getattr(node, "name", "lambda")
                long.append(f"{path.relative_to(ROOT)}:{node.lineno} {name}: {count}")
    assert long == []


# --- the wheel --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_wheel_codes_an_image_from_another_folder(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*build, "-w", str(tmp_path)], check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"ctc_codec-{ctc_codec.__version__}-")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    for needed in ("weights/ctc.safetensors", "py.typed", "evaluation/page.html.jinja"):
        assert f"ctc_codec/{needed}" in names
    assert {name.split("/")[0] for name in names} == {
        "ctc_codec",
        f"ctc_codec-{ctc_codec.__version__}.dist-info",
    }
    assert not [name for name in names if "test" in name or "tools" in name]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    script = """
import ctc_codec, PIL.Image
data = ctc_codec.encode(PIL.Image.effect_mandelbrot((64, 48), (-2, -1, 1, 1), 90))
assert ctc_codec.decode(data).size == (64, 48)
print(ctc_codec.__file__)
"""
    assert str(tmp_path) in _python(script, cwd=tmp_path, env=environment)
    (tmp_path / "whole.ctc").write_bytes((ROOT / "tests" / "data" / "format" / "odd.ctc").read_bytes())
    command = [sys.executable, "-m", "ctc_codec.cli", "decode", "whole.ctc", "-o", "b.png"]
    subprocess.run(command, check=True, cwd=tmp_path, env=environment)
    assert (tmp_path / "b.png").stat().st_size > 1000
