"""Decodes files and encodes the golden pictures under the settings of its process; prints JSON.

    python -m exactness.process [SETTING=VALUE ...]

The last line of output has

    here       versions, and what of the settings is really in force
    refused    why the package does not work here; then nothing else
    hashes     of the latents, in the form of data/format/hashes.json
    encoded    by picture: null where the golden file came out, or else the file and the hash of its latent
    pixels     hash of what the whole files look like

Settings:

    threads=N  optimisation=disabled|basic|extended|all  execution=parallel  intra=N  inter=N (of a network)
    arena=off  pattern=on  config=KEY:VALUE (of onnxruntime's sessions)
    denormals=flushed (in this process, on x86)
    window=N (positions that a network sees at a time)  piece=N (bytes that a decoder gets at a time)
    where=pool|fork|spawn (in many threads at once; in the child of a process that has decoded; in new ones)
    rounding=down|up|zero (of floats, on x86)  wrong=yes (a result of each network is off by one)
    when=later (these two once the weights are loaded)
    data=FOLDER (files and hashes.json)  cuts=brief (whole, and one cut)  encode=no
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ctc_codec import CodecModel, DamageError, Decoder, WeightsError, encode, load_model
from exactness.settings import Settings, apply, disturb, facts, saturates
from golden import FOLDER, golden

Work = dict[str, Any]
_settings: Settings = {}


def _hash(data: bytes, model: CodecModel) -> str:
    decoder, piece = Decoder(weights=model), int(_settings.get("piece", len(data)))
    try:
        for at in range(0, len(data), piece):
            decoder.feed(data[at : at + piece])
            if decoder.header is not None:
                decoder.latent()
        decoder.finish()
        return decoder.latent().sha256()
    except DamageError as error:
        return f"DamageError: {error}"  # wrong probabilities lead to no symbol: as bad as a wrong hash


def _files() -> tuple[Path, dict[str, dict[str, str]]]:
    folder = Path(_settings.get("data", FOLDER))
    return folder, json.loads((folder / "hashes.json").read_text())


def hashes(model: CodecModel) -> dict[str, dict[str, str]]:
    """Hashes of every file at every cut."""
    folder, expected = _files()
    found: dict[str, dict[str, str]] = {}
    for name, cuts in expected.items():
        data = (folder / f"{name}.ctc").read_bytes()
        chosen = list(cuts)[3::4] if _settings.get("cuts") == "brief" and len(cuts) > 1 else list(cuts)
        found[name] = {cut: _hash(data[: int(cut)], model) for cut in chosen}
    return found


def encoded(model: CodecModel) -> dict[str, dict[str, str] | None]:
    """What comes out of every golden picture, where it is not the golden file."""
    found: dict[str, dict[str, str] | None] = {}
    for name, each in golden().items():
        data = encode(each.source, weights=model, **each.options)
        if data == (FOLDER / f"{name}.ctc").read_bytes():
            found[name] = None
        else:
            found[name] = {"file": data.hex(), "latent": _hash(data, model)}
    return found


def pixels(model: CodecModel) -> str:
    """Hash of the pictures that the whole files give, or why one gives none."""
    digest = hashlib.sha256()
    folder, expected = _files()
    for name in expected:
        decoder = Decoder(weights=model)
        try:
            decoder.feed((folder / f"{name}.ctc").read_bytes())
            decoder.finish()
            digest.update(decoder.image().tobytes())
        except DamageError as error:
            return f"DamageError: {error}"
    return digest.hexdigest()


def work(model: CodecModel) -> Work:
    """All of it, in this thread."""
    asked = _settings.get("encode") != "no"
    return {"hashes": hashes(model), "encoded": encoded(model) if asked else {}, "pixels": pixels(model)}


def _same(found: list[Work]) -> Work:
    """The first of many that have to be the same; differences from it are told as such."""
    first, *others = found
    for other in others:
        for name, cuts in other["hashes"].items():
            for cut, value in cuts.items():
                if value != first["hashes"][name][cut]:
                    first["hashes"][name][cut] = "not the same in all"
        first["encoded"] |= {name: each for name, each in other["encoded"].items() if each is not None}
    return first


def _in_pool(model: CodecModel) -> Work:
    with ThreadPoolExecutor(4) as pool:
        return _same(list(pool.map(lambda _: work(model), range(4))))


def _in_child(model: CodecModel) -> Work:
    _hash((FOLDER / "odd.ctc").read_bytes(), model)
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            with os.fdopen(writer, "w") as out:
                json.dump(_work_or_refusal(model), out)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        found = told.read()
    if os.wait()[1]:
        raise RuntimeError("the child of a fork failed")
    report: Work = json.loads(found)
    if "refused" in report:
        raise WeightsError(report["refused"])
    return report


def _work_or_refusal(model: CodecModel) -> Work:
    try:
        return work(model)
    except WeightsError as error:
        return {"refused": str(error)}


def _begin(settings: Settings) -> None:
    _settings.update(settings)
    apply(_settings)


def _work_of(model: CodecModel, _: int) -> Work:
    return work(model)


def _in_new_processes(model: CodecModel) -> Work:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, context, _begin, (_settings,)) as pool:
        return _same(list(pool.map(_work_of, [model] * 2, range(2))))


_WAYS: dict[str, Callable[[CodecModel], Work]] = {
    "": work,
    "pool": _in_pool,
    "fork": _in_child,
    "spawn": _in_new_processes,
}


def main(arguments: list[str]) -> None:
    """Apply the settings, decode and encode, and print the report."""
    _begin({name: value for name, _, value in (argument.partition("=") for argument in arguments)})
    report: dict[str, Any] = {"here": facts()}
    try:
        model = load_model(threads=int(_settings.get("threads", 1)))
        model.context.most = int(_settings.get("window", model.context.most))
        report["here"]["saturates"] = saturates()
        disturb(_settings)
        report["here"] |= facts()  # again: it may round otherwise now
        report |= _WAYS[_settings.get("where", "")](model)
    except WeightsError as error:
        report["refused"] = str(error)
    print("\n" + json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1:])
