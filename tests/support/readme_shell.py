"""Runs the documents' commands in folders where they find what they speak of, with a server for their URLs.

    cd tests && python -m support.readme_shell [DOCUMENT...]

writes what they print now into the documents, by default into all of them. Tests compare it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from support.pictures import photograph
from support.servers import WebSite, served

_ROOT = Path(__file__).resolve().parents[2]
README = _ROOT / "README.md"
DOCUMENTS = [
    README,
    *(_ROOT / "docs" / name for name in ("USAGE.md", "SERVING.md", "SCALE.md", "RESULTS.md", "TRAINING.md")),
]
SITE = "https://example.org"
_PROMPT = "    $ "


@dataclass
class Command:
    """A line after a prompt, and the lines below it: what it prints."""

    text: str
    line: int
    printed: list[str] = field(default_factory=list)


def commands(text: str) -> list[Command]:
    """The commands after prompts in a document, in order."""
    found: list[Command] = []
    inside = False
    for number, line in enumerate(text.splitlines()):
        if line.startswith(_PROMPT):
            found.append(Command(line.removeprefix(_PROMPT), number))
            inside = True
        elif inside and line.startswith("    "):
            found[-1].printed.append(line[4:])
        else:
            inside = False
    return found


def python_blocks(text: str) -> list[str]:
    """The Python blocks of a document, in order."""
    return re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def furnish(folder: Path) -> None:
    """Make the files that the commands speak of: photo.png, logo.png, holiday/, photos/ and shard.tar."""
    try:
        from skimage import data

        photo = Image.fromarray(data.coffee())
    except ImportError:
        photo = Image.fromarray(photograph(600, 400))
    photo.save(folder / "photo.png")
    for name, box in {"beach": (0, 0, 160, 120), "2024/hill": (200, 100, 360, 220)}.items():
        target = folder / "holiday" / f"{name}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        photo.crop(box).save(target, quality=90)
    y, x = np.mgrid[0:120, 0:160]
    logo = photo.crop((0, 0, 160, 120)).convert("RGBA")
    logo.putalpha(Image.fromarray(np.clip(900 - 20 * np.hypot(x - 80, y - 60), 0, 255).astype(np.uint8)))
    exif = Image.Exif()
    exif[0x010E] = "A cup"
    logo.save(folder / "logo.png", exif=exif)
    (folder / "photos").mkdir()
    photo.crop((100, 50, 400, 350)).save(folder / "photos" / "one.png")
    with tarfile.open(folder / "shard.tar", "w") as shard:
        shard.add(folder / "photo.png", "photo.png")


class Shell:
    """A shell in a furnished folder.

    site: stands for SITE.
    """

    def __init__(self, site: WebSite) -> None:
        self.site = site
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._environment = {**os.environ, "PATH": path, "COLUMNS": "100"}

    def run(self, command: str) -> tuple[int, list[str]]:
        """Exit code and the lines of both outputs."""
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command.replace(SITE, self.site.url)],
            cwd=self.site.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=300,
            check=False,
        )
        return done.returncode, done.stdout.decode().replace(self.site.url, SITE).splitlines()


def refill(document: Path) -> None:
    """Run a document's commands and write what they print into it. Raises SystemExit if one fails."""
    text = document.read_text()
    lines = text.splitlines()
    with tempfile.TemporaryDirectory() as name, served(Path(name)) as site:
        furnish(Path(name))
        shell = Shell(site)
        outputs = {}
        for command in commands(text):
            code, printed = shell.run(command.text)
            print(command.text, code, *printed, sep="\n")
            if code:
                raise SystemExit(f"{document.name}: failed")
            outputs[command.line] = (len(command.printed), printed)
    for line in sorted(outputs, reverse=True):
        count, printed = outputs[line]
        lines[line + 1 : line + 1 + count] = [f"    {text}" for text in printed]
    document.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    for document in [Path(name).resolve() for name in sys.argv[1:]] or DOCUMENTS:
        refill(document)
