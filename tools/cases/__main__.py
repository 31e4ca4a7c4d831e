"""Run the rows of the cases: ``make cases``.

    cd tools && python -m cases [FOLDER] [--only NAME ...]

Files are written into FOLDER, or into a temporary one. A line for each row says that it passes, or what is
wrong. Exit code 1 if anything is. Rows:

%s
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import textwrap
import time
from pathlib import Path

from cases.build import build
from cases.rows import ROWS, run


def main(arguments: list[str]) -> int:
    """Run the rows, print what is wrong, and return the exit code."""
    names = textwrap.fill(", ".join(ROWS), 100)
    parser = argparse.ArgumentParser(
        description=(__doc__ or "") % names, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, help="where to write the files, and keep them")
    parser.add_argument("--only", nargs="+", default=list(ROWS), choices=ROWS, metavar="NAME")
    chosen = parser.parse_args(arguments)
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or Path(temporary)
        build(folder)
        for name in chosen.only:
            start = time.perf_counter()
            wrong = run(name, folder)
            failed += bool(wrong)
            print(f"{'WRONG' if wrong else 'right'}  {name}  {time.perf_counter() - start:.1f} s", flush=True)
            for words in wrong:
                print(f"       {words.strip()}", flush=True)
    print(f"\n{len(chosen.only) - failed} right, {failed} wrong")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
