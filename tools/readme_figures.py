"""The README's sections on rate and distortion, made from committed documents.

python -m readme_figures docs/results.json docs/ablation.json README.md
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from ctc_codec.evaluation.ablation import Ablation, ablation_table, effort_table
from ctc_codec.evaluation.results import Results
from ctc_codec.evaluation.tables import bd_table, difference_table, rate_table, resource_table, whole_line

BEGIN = "<!-- made by readme_figures -->"
ABLATION_BEGIN = "<!-- ablation, made by readme_figures -->"
END = "<!-- end -->"


def section(results: Results) -> str:
    """Markdown between the marks."""
    machine, metrics = results["machine"], results["metrics"]
    parts = [
        f"{len(results['images'])} images, means of PSNR over RGB samples in dB at bits per pixel of file "
        f"bytes; weights {results['weights']['fingerprint']}:",
        rate_table(results),
        "A value *at* another rate is that of files that end before. " + whole_line(results),
        "Bits that ctc takes more or less than others at equal PSNR, at its rates:",
        difference_table(results),
        "BD-rate, PCHIP over log-rate, and the range of PSNR in dB that it is over:",
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


def ablation_section(document: Ablation) -> str:
    """Markdown between the marks of the ablation."""
    return "\n\n".join(
        [
            f"{len(document['images'])} images, BD-rates against context-free:",
            ablation_table(document),
            "Efforts, BD-rates against the default one:",
            effort_table(document),
        ]
    )


def with_section(text: str, content: str, mark: str = BEGIN) -> str:
    """A README with a section renewed. Raises ValueError if it has no marks."""
    before, begin, rest = text.partition(mark)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {mark} ... {END}")
    return f"{before}{mark}\n\n{content}\n\n{END}{after}"


@click.command()
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("ablation", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("readme", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(results: Path, ablation: Path, readme: Path) -> None:
    """Renew the sections of README from RESULTS (results.json) and ABLATION (ablation.json)."""
    text = with_section(readme.read_text(), section(json.loads(results.read_text())))
    found = ablation_section(json.loads(ablation.read_text()))
    readme.write_text(with_section(text, found, ABLATION_BEGIN))


if __name__ == "__main__":
    main()
