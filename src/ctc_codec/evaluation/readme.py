"""The README's section on rate and distortion, made from a committed results document.

python -m ctc_codec.evaluation.readme docs/results.json README.md
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from .results import Results
from .tables import bd_table, rate_table, resource_table

BEGIN = "<!-- made by ctc_codec.evaluation.readme -->"
END = "<!-- end -->"


def section(results: Results) -> str:
    """Markdown between the marks."""
    machine, metrics = results["machine"], results["metrics"]
    parts = [
        f"{len(results['images'])} images, means of PSNR over RGB samples in dB at bits per pixel of file "
        f"bytes; weights {results['weights']['fingerprint']}:",
        rate_table(results),
        "A value *at* another rate is that of files that end before. BD-rate, PCHIP over log-rate, and the "
        "range of PSNR in dB that it is over:",
        bd_table(results),
    ]
    if "ssimulacra2" in metrics:
        parts += ["SSIMULACRA 2:", rate_table(results, "ssimulacra2")]
    if "ms_ssim" in metrics:
        parts += ["MS-SSIM:", rate_table(results, "ms_ssim")]
    parts += [
        f"Time and memory, each codec alone in a process, at the point nearest to 1 bpp ({machine['cpu']}, "
        f"{machine['cores']} cores; an embedded file is encoded once for all rates):",
        resource_table(results),
    ]
    parts += ["\n".join(f"- {note}" for note in results["notes"])]
    return "\n\n".join(parts)


def with_section(text: str, results: Results) -> str:
    """A README with its section renewed. Raises ValueError if it has no marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n\n{section(results)}\n\n{END}{after}"


@click.command()
@click.argument("document", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("readme", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(document: Path, readme: Path) -> None:
    """Renew the section of README from DOCUMENT (results.json)."""
    readme.write_text(with_section(readme.read_text(), json.loads(document.read_text())))


if __name__ == "__main__":
    main()
