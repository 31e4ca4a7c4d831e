"""Tables of README.md, docs/RESULTS.md and docs/SERVING.md, made from docs/results.json, docs/ablation.json
and docs/serving.json.

python tools/readme_figures.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ctc_codec.evaluation.ablation import Ablation, ablation_table, effort_table
from ctc_codec.evaluation.results import MEAN_RATES, OURS, Results
from ctc_codec.evaluation.tables import (
    bd_table,
    difference_table,
    markdown,
    rate_table,
    rate_table_rows,
    resource_rows,
    resource_table,
    whole_line,
)

ROOT = Path(__file__).resolve().parents[1]
BEGIN = "<!-- made by readme_figures -->"
ABLATION_BEGIN = "<!-- ablation, made by readme_figures -->"
END = "<!-- end -->"

_RATES = ("0.2", "0.5", "1", "2")
_CODECS = ("ctc", "JPEG 2000, layered", "JPEG", "WebP", "AVIF", "JPEG XL")
_PUBLISHED = ("DPICT, published", "CTC, published", "VTM, published")
_ANCHOR = "JPEG 2000, layered"
_EFFORTS = ("1", "5", "9")


def short_section(results: Results, ablation: Ablation) -> str:
    """Markdown of README's section: one table of rate, distortion and time, and three sentences."""
    header, rows = rate_table_rows(results, "psnr")
    columns = [header.index(rate) for rate in _RATES]
    took = {label: milliseconds for label, *milliseconds, _ in resource_rows(results)[1]}
    table = [
        [row[0], *(row[column] for column in columns), *took.get(row[0], ("", ""))]
        for row in rows
        if row[0] in (*_CODECS, *_PUBLISHED)
    ]
    differences = []
    for row in results["rate_difference"]:
        known = [at for rate in MEAN_RATES if (at := row["percent"][f"{rate:g}"]) is not None]
        differences.append(f"{min(known):+.0f} to {max(known):+.0f} % against {row['anchor']}")
    rates = {
        row["metric"]: f"{row['percent']:+.1f} %"
        for row in results["bd_rate"]
        if row["codec"] == OURS and row["anchor"] == _ANCHOR
    }
    efforts = [row for row in ablation["efforts"] if row["label"] in _EFFORTS]
    times = "encode ms", "decode ms"
    span = f"{MEAN_RATES[0]:g} to {MEAN_RATES[-1]:g} bpp"
    sentences = [
        f"Bits of ctc at equal PSNR, {span}: {'; '.join(differences)}.",
        f"BD-rate of ctc against {_ANCHOR}: {rates['psnr']} by PSNR, {rates['ms_ssim']} by MS-SSIM, "
        f"{rates['ssimulacra2']} by SSIMULACRA 2.",
        f"Whole default files at efforts {', '.join(_EFFORTS)}: {_listed(efforts, 'whole_bpp', '.3f')} bpp; "
        f"{_listed(efforts, 'encode_ms', '.0f')} ms to encode, {_listed(efforts, 'decode_ms', '.0f')} ms to "
        f"decode ({len(ablation['images'])} images, {len(ablation['timed_images'])} of them timed).",
    ]
    return "\n\n".join(
        [
            markdown(["PSNR in dB at bpp", *(header[column] for column in columns), *times], table),
            f"Means over {len(results['images'])} images. Times are medians at the point nearest to 1 bpp "
            f"({_machine(results)}); ctc and layered JPEG 2000 encode once for all rates.",
            "\n".join(f"- {sentence}" for sentence in sentences),
        ]
    )


def _listed(rows: Sequence[dict[str, Any]], key: str, spec: str) -> str:
    return ", ".join(format(row[key], spec) for row in rows)


def section(results: Results) -> str:
    """Markdown of all tables of a results document."""
    metrics = results["metrics"]
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
        "Time and memory, each codec alone in a process, at the point nearest to 1 bpp "
        f"({_machine(results)}; an embedded file is encoded once for all rates):",
        resource_table(results),
    ]
    parts += ["\n".join(f"- {note}" for note in results["notes"])]
    return "\n\n".join(parts)


def _machine(document: Results | Ablation) -> str:
    return f"{document['machine']['cpu']}, {document['machine']['cores']} cores"


def ablation_section(document: Ablation) -> str:
    """Markdown of the tables of an ablation."""
    return "\n\n".join(
        [
            f"{len(document['images'])} images, BD-rates against context-free; times are medians over "
            f"{len(document['timed_images'])} of them ({_machine(document)}):",
            ablation_table(document),
            "Efforts, BD-rates against the default one:",
            effort_table(document),
        ]
    )


def serving_section(document: dict[str, Any]) -> str:
    """Markdown of what commands fetch of a file behind a URL."""
    width, height = document["size"]
    header = ["command", "requests", "bytes", "of the file", "PSNR in dB"]
    rows = [
        [
            f"`{row['command']}`",
            str(row["requests"]),
            str(row["bytes"]),
            f"{100 * row['bytes'] / document['file_bytes']:.1f} %",
            "" if row["psnr"] is None else f"{row['psnr']:.2f}",
        ]
        for row in document["rows"]
    ]
    return "\n\n".join(
        [
            f"{document['image']}, {width}x{height}, encoded with `{document['encoded']}`: "
            f"{document['file_bytes']} bytes. Requests are the HEAD and the GETs, bytes those that the "
            "server sent, without headers.",
            markdown(header, rows),
        ]
    )


def with_section(text: str, content: str, mark: str = BEGIN) -> str:
    """A document with the section after ``mark`` renewed. Raises ValueError if it has no marks."""
    before, begin, rest = text.partition(mark)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {mark} ... {END}")
    return f"{before}{mark}\n\n{content}\n\n{END}{after}"


def renewed() -> Iterator[tuple[Path, str]]:
    """Documents with sections, and their text as the committed figures make it."""
    results = json.loads((ROOT / "docs/results.json").read_text())
    ablation = json.loads((ROOT / "docs/ablation.json").read_text())
    readme, full = ROOT / "README.md", ROOT / "docs/RESULTS.md"
    yield readme, with_section(readme.read_text(), short_section(results, ablation))
    serving = json.loads((ROOT / "docs/serving.json").read_text())
    page = ROOT / "docs/SERVING.md"
    yield page, with_section(page.read_text(), serving_section(serving))
    text = with_section(full.read_text(), section(results))
    yield full, with_section(text, ablation_section(ablation), ABLATION_BEGIN)


def main() -> None:
    """Write the sections."""
    for path, text in renewed():
        path.write_text(text)


if __name__ == "__main__":
    main()
