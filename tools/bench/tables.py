"""Tables of a benchmark's document. Every figure is a median; what stands after ± is half the distance of the
quartiles. Where an earlier measurement is there, it stands before an arrow, and how many times as fast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench import peers, sections
from bench.sections import RATES, rate_name
from bench.stages import STAGES
from ctc_codec.evaluation.tables import markdown

Document = dict[str, Any]
KINDS = ("encode", "decode")


@dataclass(frozen=True)
class Measured:
    """Measurements: quartiles by name, now and, in ``former``, earlier."""

    now: dict[str, list[float]]
    former: dict[str, list[float]]

    def median(self, name: str) -> float | None:
        """Of what was measured now."""
        return self.now[name][1] if name in self.now else None

    def cell(self, name: str, *, spread: bool = True, scale: float = 1.0) -> str:
        """A measurement for a table. scale: of its unit."""
        if name not in self.now:
            return ""
        low, median, high = (scale * value for value in self.now[name])
        text = figure(median) + (f" ± {figure((high - low) / 2)}" if spread and high > low else "")
        if name not in self.former:
            return text
        before = scale * self.former[name][1]
        return f"{figure(before)} → {text}" + (f" ({before / median:.2f}x)" if spread and median else "")

    def matching(self, start: str) -> list[str]:
        """Names that begin so, without that."""
        return [name.removeprefix(start) for name in self.now if name.startswith(start)]


def figure(value: float) -> str:
    """Three digits or more."""
    return f"{value:.{0 if value >= 99.5 else 1 if value >= 9.95 else 2}f}"


def tables(document: Document, against: Document | None = None) -> str:
    """Markdown. against: another document, whose numbers are the earlier ones in place of this one's own."""
    former = document.get("before") if against is None else against["after"]
    measured = Measured(document["after"]["measured"], former["measured"] if former else {})
    parts = [
        *_processes(measured),
        *_totals(document, measured),
        *_stages(document, measured),
        *_dense(document, measured),
        *_sizes(document, measured),
        *_batches(document, measured),
        *_peers(document, measured),
    ]
    return "\n\n".join(parts)


def _processes(measured: Measured) -> Iterator[str]:
    commands = [name.removesuffix("/ms") for name in measured.matching("process/") if name.endswith("/ms")]
    if commands:
        rows = [
            [f"ctc {c}", measured.cell(f"process/{c}/ms"), measured.cell(f"process/{c}/MB", spread=False)]
            for c in commands
        ]
        yield markdown(["as a process", "ms", "peak memory, MB"], rows)


def _heads(document: Document, measured: Measured, name: str) -> list[str]:
    """Rates, with the true one of a whole file. name: kind and effort."""
    heads = []
    for bpp in RATES:
        nbytes = measured.median(f"bytes/{name}/{rate_name(bpp)}")
        size = document["image"]["width"] * document["image"]["height"]
        whole = "whole" if nbytes is None else f"whole, {8 * nbytes / size:.2f}"
        heads.append(f"{bpp:g} bpp" if bpp is not None else f"{whole} bpp")
    return heads


def _totals(document: Document, measured: Measured) -> Iterator[str]:
    for kind in KINDS:
        rows = []
        for effort in document["efforts"]:
            names = [f"total/{kind}/{effort}/{rate_name(bpp)}/ms" for bpp in RATES]
            if any(name in measured.now for name in names):
                rows.append([str(effort), *map(measured.cell, names)])
        if rows:
            heads = [rate_name(bpp) + (" bpp" if bpp is not None else " file") for bpp in RATES]
            yield markdown([f"{kind}, {document['cores']} cores, ms: effort", *heads], rows)


def _stages(document: Document, measured: Measured) -> Iterator[str]:
    for effort in document["stage_efforts"]:
        for kind in KINDS:
            names = [f"{kind}/{effort}/{rate_name(bpp)}" for bpp in RATES]
            found = [s for s in ("total", *STAGES, "other") if f"stages/{names[-1]}/{s}" in measured.now]
            if not found:
                continue
            rows = [
                [stage, *(measured.cell(f"stages/{name}/{stage}", spread=stage == "total") for name in names)]
                for stage in found
            ]
            rows += _networks(document, measured, names)
            heads = _heads(document, measured, f"{kind}/{effort}")
            yield markdown([f"{kind}, effort {effort}, one thread, ms", *heads], rows)


def _networks(document: Document, measured: Measured, names: Sequence[str]) -> Iterator[list[str]]:
    """Shares of the networks in the time, and how fast they were."""
    shares = [network_share(measured, name) for name in names]
    yield ["networks, of the total", *(f"{100 * share:.0f} %" for share in shares)]
    yield ["all else, of the total", *(f"{100 - 100 * share:.0f} %" for share in shares)]
    speeds = [speed(document, name) for name in names]
    yield ["networks, GMAC", *(f"{s['gmac']:.2f}" for s in speeds)]
    yield ["networks, GMAC/s", *(f"{s['gmac_s']:.0f}" for s in speeds)]
    for kind in ("u8 x s8", "float32"):
        if all(kind in s for s in speeds):
            yield [f"of a dense convolution, {kind}", *(f"{100 * s[kind]:.0f} %" for s in speeds)]


def network_share(measured: Measured, name: str) -> float:
    """Share of the networks in the time. name: kind, effort and rate."""
    total = measured.median(f"stages/{name}/total") or 0.0
    return (measured.median(f"stages/{name}/networks") or 0.0) / total if total else 0.0


def speed(document: Document, name: str) -> dict[str, float]:
    """Of all networks together: "gmac" of one run, "gmac_s", and by the kind of convolution the share of the
    rate that dense ones would have with the same numbers of multiplications for each network."""
    entries = document["after"]["networks"][name]
    macs = sum(entry["macs"] for entry in entries.values())
    seconds = sum(entry["seconds"] for entry in entries.values())
    found = {"gmac": 1e-9 * macs / document["runs"], "gmac_s": 1e-9 * macs / seconds if seconds else 0.0}
    for kind in ("u8 x s8", "float32"):
        rates = {c: document["after"]["measured"].get(f"dense/{c}/{kind}") for c in entries}
        if all(rates.values()) and seconds:
            least = sum(1e-9 * e["macs"] / rates[c][1] for c, e in entries.items())
            found[kind] = least / seconds
    return found


def _dense(document: Document, measured: Measured) -> Iterator[str]:
    rows = [
        [f"{channels} channels, {columns}x{height}"]
        + [measured.cell(f"dense/{channels}/{kind}") for kind in ("u8 x s8", "float32")]
        for channels, (height, columns) in document["dense"].items()
    ]
    if rows:
        yield markdown(["dense 3x3 convolution, one thread, GMAC/s", "u8 x s8", "float32"], rows)


def _sizes(document: Document, measured: Measured) -> Iterator[str]:
    rows = []
    for size in document["megapixels"]:
        row = [f"{size:g}"]
        for kind in KINDS:
            name = f"size/{kind}/{size:g}"
            ms, first = (
                measured.median(f"{name}/ms"),
                measured.median(f"size/{kind}/{document['megapixels'][0]:g}/ms"),
            )
            if ms is None or first is None:
                continue
            relative = ms / size / (first / document["megapixels"][0])
            row += [measured.cell(f"{name}/ms", scale=1e-3), f"{1e3 * size / ms:.2f}", f"{relative:.2f}"]
            row.append(measured.cell(f"{name}/MB", spread=False))
        if len(row) > 1:
            rows.append(row)
    if rows:
        columns = ["s", "Mpixel/s", "time by pixel", "peak MB"]
        heads = [f"{kind}, {column}" for kind in KINDS for column in columns]
        yield markdown([f"megapixels, {document['cores']} cores", *heads], rows)


def _batches(document: Document, measured: Measured) -> Iterator[str]:
    rows = []
    for kind in KINDS:
        names = [f"batch/{kind}/{jobs}/s" for jobs in sections.BATCHES]
        times = [measured.median(name) for name in names]
        if all(times):
            several = times[-1] or 1.0
            rows.append(
                [
                    kind,
                    *map(measured.cell, names),
                    *(f"{(alone or 0) / several:.2f}" for alone in times[:-1]),
                ]
            )
    if rows:
        ratios = [
            f"{sections.BATCHES[-1]} is so many times as fast as {alone}" for alone in sections.BATCHES[:-1]
        ]
        yield markdown([f"{document['images']} images, s", *sections.BATCHES, *ratios], rows)


def _peers(document: Document, measured: Measured) -> Iterator[str]:
    labels = {"ctc": "ctc"} | {name: entry["label"] for name, entry in document["peers"].items()}
    rows = []
    for bpp in peers.RATES:
        for name, label in labels.items():
            rate = measured.median(f"peer/{name}/encode/{bpp:g}/bpp")
            if rate is None:
                continue
            row = [label, f"{rate:.2f}"]
            for kind in KINDS:
                ms, ours = (measured.median(f"peer/{n}/{kind}/{bpp:g}/ms") or 0.0 for n in (name, "ctc"))
                row += [measured.cell(f"peer/{name}/{kind}/{bpp:g}/ms"), f"{ours / ms:.1f}" if ms else ""]
            rows.append(row)
    if rows:
        heads = ["encode ms", "ctc takes, times", "decode ms", "ctc takes, times"]
        yield markdown(["from and to samples in memory", "bpp", *heads], rows)
    missing = [
        f"{e['label']} is missing: {e['missing']}" for e in document["peers"].values() if "missing" in e
    ]
    if missing:
        yield "\n".join(f"- {line}" for line in missing)


def page(document: Document, against: Document | None = None) -> str:
    """docs/SPEED.md, of a document."""
    machine = document["machine"]
    image = document["image"]
    versions = ", ".join(f"{name} {machine[name]}" for name in ("python", "onnxruntime", "numpy", "pillow"))
    method = (
        "Made from [bench.json](bench.json), which `make bench` writes (as `report/bench.json`), by "
        "`python -m bench --read ../docs/bench.json -o ../docs/SPEED.md` in `tools`: "
        f"{image['name']}, "
        f"{image['width']}x{image['height']}; {machine['cpu']}, {document['cores']} cores; {versions}; "
        f"weights {document['weights'][:8]}.\n\n"
        "Figures are medians, ± half the distance of the quartiles. Times of encoding and decoding are of a "
        "loaded model, from and to PNG files, if nothing else is said."
    )
    if document.get("before") or against:
        method += (
            " What stands before an arrow is an earlier tree, with weights of its own, measured in turns "
            "with what stands behind it; then, how many times as fast it is."
        )
    return f"# Speed\n\n{method}\n\n{tables(document, against)}\n"
