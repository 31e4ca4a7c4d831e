"""The PyTorch dataset: what it reads, what it gives, and how its samples are dealt to workers and ranks."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import ctc_codec
from ctc_codec import CodecModel, CtcError, FormatError, InputError, TargetError, WeightsError, torch_dataset
from ctc_codec.container.shards import append, finish, member_name
from ctc_codec.torch_dataset import CtcDataset, Sample
from support.pictures import photograph
from support.servers import BUCKET, Site, WebSite, served
from support.streams import changed

GOLDEN = Path(__file__).parent / "data" / "format"
MODES = {"colour": "RGB", "grey": "L", "extras": "RGBA", "odd": "RGB", "one-pixel": "RGB"}


@pytest.fixture(scope="session")
def photographs() -> dict[str, bytes]:
    """Six files of about 27 kB, at whose 0.5 bpp there are 1200 bytes."""
    return {
        f"{seed}.photo.ctc": ctc_codec.encode(Image.fromarray(photograph(160, 120, seed)), quality=100)
        for seed in range(6)
    }


@pytest.fixture
def store(tmp_path: Path, photographs: dict[str, bytes]) -> Path:
    """A folder with ``files/`` and the same as two shards."""
    (tmp_path / "files").mkdir()
    for name, data in photographs.items():
        (tmp_path / "files" / name).write_bytes(data)
    items = list(photographs.items())
    for number, part in enumerate((items[:4], items[4:])):
        with open(tmp_path / f"{number}.tar", "wb") as file:
            for name, data in part:
                append(file, member_name(name), data)
            finish(file)
    return tmp_path


def names_of(samples: Iterable[Sample]) -> list[str]:
    return [sample["name"].rpartition("/")[2] for sample in samples]


def expected(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def check(sample: Sample, photographs: dict[str, bytes], bpp: float, model: CodecModel) -> None:
    data = ctc_codec.truncate(photographs[names_of([sample])[0]], bpp=bpp)
    assert torch.equal(sample["image"], expected(ctc_codec.decode(data, weights=model)))


# --- what is read, and given ------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [{}, {"bpp": 0.5}, {"bpp": 2.0}, {"nbytes": 200}, {"nbytes": 10**7}])
def test_images_are_those_of_the_prefix(model: CodecModel, rate: dict[str, Any]) -> None:
    paths = [GOLDEN / f"{name}.ctc" for name in MODES if name != "one-pixel"]
    for path, sample in zip(paths, CtcDataset(paths, weights=model, **rate), strict=True):
        data = path.read_bytes()
        image = ctc_codec.decode(ctc_codec.truncate(data, **rate) if rate else data, weights=model)
        assert image.mode.startswith(MODES[path.stem][0])
        assert sample["image"].dtype == torch.uint8
        assert sample["image"].shape == (3, image.height, image.width)
        assert torch.equal(sample["image"], expected(image))
        assert sample["name"] == str(path)
        assert sample["bytes"] <= len(data)


def test_thumbnails_are_those_of_the_package(model: CodecModel) -> None:
    paths = [GOLDEN / f"{name}.ctc" for name in MODES]
    for path, sample in zip(paths, CtcDataset(paths, thumbnail=True, weights=model), strict=True):
        small = ctc_codec.thumbnail(path.read_bytes(), weights=model)
        assert torch.equal(sample["image"], expected(small))


def test_thumbnails_take_one_block(store: Path, photographs: dict[str, bytes], model: CodecModel) -> None:
    for source in (store / "files", store / "0.tar"):
        for sample in CtcDataset(source, thumbnail=True, weights=model):
            data = photographs[names_of([sample])[0]]
            assert sample["bytes"] < 1.25 * 4200
            assert torch.equal(sample["image"], expected(ctc_codec.thumbnail(data, weights=model)))


def test_files_are_read_whole_without_a_rate(
    store: Path, photographs: dict[str, bytes], model: CodecModel
) -> None:
    samples = list(CtcDataset([store / "0.tar", store / "1.tar"], weights=model))
    assert [sample["bytes"] for sample in samples] == [len(data) for data in photographs.values()]
    for sample in samples:
        whole = ctc_codec.decode(photographs[names_of([sample])[0]], weights=model)
        assert torch.equal(sample["image"], expected(whole))


def test_a_rate_below_a_header_gives_the_smallest_picture(model: CodecModel) -> None:
    data = (GOLDEN / "tables.ctc").read_bytes()
    (sample,) = CtcDataset(GOLDEN / "tables.ctc", bpp=0.001, weights=model)
    assert torch.equal(sample["image"], expected(ctc_codec.decode(data[:24], weights=model)))
    assert sample["image"].unique().numel() > 100
    assert expected(ctc_codec.decode(data[:23], weights=model)).unique().numel() == 1
    with pytest.raises(TargetError, match=r"colour\.ctc: 9 bytes are too few"):
        list(CtcDataset(GOLDEN / "colour.ctc", nbytes=9, weights=model))


def test_a_changed_rate_counts_from_the_next_iteration_on(
    store: Path, photographs: dict[str, bytes], model: CodecModel
) -> None:
    dataset = CtcDataset(store / "files", bpp=0.1, weights=model)
    for bpp in (0.1, 0.5, 2.0):
        dataset.set_rate(bpp=bpp)
        samples = list(dataset)
        assert len(samples) == 6
        for sample in samples:
            check(sample, photographs, bpp, model)
    dataset.set_rate()
    assert sum(sample["bytes"] for sample in dataset) == sum(map(len, photographs.values()))


# --- stores -----------------------------------------------------------------------------------------


def check_store(urls: list[str], site: WebSite, photographs: dict[str, bytes], model: CodecModel) -> None:
    """At 0.5 bpp every byte is accounted for, and a file costs one request; the first one costs two."""
    dataset = CtcDataset(urls, bpp=0.5, weights=model)
    site.forget()
    samples = list(dataset)
    assert sorted(names_of(samples)) == sorted(photographs)
    for sample in samples:
        check(sample, photographs, 0.5, model)
    assert sum(sample["bytes"] for sample in samples) == sum(site.sent)
    assert sum(site.sent) < sum(map(len, photographs.values())) / 10
    assert len(site.asked) == len(samples) + 1
    assert site.gets == len(site.asked)  # no size is asked for


def test_files_behind_urls(store: Path, photographs: dict[str, bytes], model: CodecModel) -> None:
    with served(store) as site:
        check_store([f"{site.url}/files/{name}" for name in photographs], site, photographs, model)


def test_shards_behind_urls(store: Path, photographs: dict[str, bytes], model: CodecModel) -> None:
    with served(store) as site:
        urls = [f"{site.url}/{number}.tar?signed=1.0" for number in range(2)]
        check_store(urls, site, photographs, model)


def test_a_server_that_knows_no_parts(store: Path, photographs: dict[str, bytes], model: CodecModel) -> None:
    with served(store) as site:
        site.ranges = False
        urls = [f"{site.url}/files/{name}" for name in photographs]
        samples = list(CtcDataset(urls, bpp=0.5, weights=model))
    assert [sample["bytes"] for sample in samples] == [len(data) for data in photographs.values()]
    for sample in samples:
        check(sample, photographs, 0.5, model)


@pytest.mark.slow
def test_s3(store: Path, photographs: dict[str, bytes], model: CodecModel, bucket: Site) -> None:
    url = f"s3://{BUCKET}"
    system = fsspec.filesystem("s3")
    system.put(str(store / "files"), f"{BUCKET}/data/", recursive=True)
    system.put_file(str(store / "0.tar"), f"{BUCKET}/data/files/9.tar")
    samples = list(CtcDataset(f"{url}/data", bpp=0.5, weights=model))
    with pytest.raises(InputError, match=rf"{url}/none\.ctc"):
        list(CtcDataset(f"{url}/none.ctc", weights=model))
    with pytest.raises(InputError, match=f"{url}/none: there is no"):
        CtcDataset(f"{url}/none", weights=model)
    assert names_of(samples) == [*photographs, *list(photographs)[:4]]
    for sample in samples:
        check(sample, photographs, 0.5, model)
    assert sum(sample["bytes"] for sample in samples) < 20_000


def test_memory_and_file_urls(store: Path, photographs: dict[str, bytes], model: CodecModel) -> None:
    fsspec.filesystem("memory").put(str(store / "files"), "/train/files/", recursive=True)
    for source in ("memory://train/files", f"file://{store}/files"):
        samples = list(CtcDataset(source, bpp=0.5, weights=model))
        assert names_of(samples) == list(photographs)
        for sample in samples:
            check(sample, photographs, 0.5, model)


# --- listing ----------------------------------------------------------------------------------------


def test_folders_are_searched_in_order_of_names(store: Path, model: CodecModel) -> None:
    data = (store / "files" / "0.photo.ctc").read_bytes()
    for name in (
        "files/b/2.ctc",
        "files/a/1.CTC",
        "files/.hidden.ctc",
        "files/.git/x.ctc",
        "files/notes.txt",
    ):
        (store / name).parent.mkdir(exist_ok=True)
        (store / name).write_bytes(data)
    names = [sample["name"] for sample in CtcDataset(store, thumbnail=True, weights=model)]
    files = [f"{at}.photo.ctc" for at in range(6)]
    shards = [f"{'0' if at < 4 else '1'}.tar/{name}" for at, name in enumerate(files)]
    inside = [f"files/{name}" for name in (*files, "a/1.CTC", "b/2.ctc")]
    assert names == [f"{store}/{name}" for name in (*shards, *inside)]


def test_a_file_of_any_name_is_taken_when_it_is_named(store: Path, model: CodecModel) -> None:
    shutil.copy(store / "files" / "0.photo.ctc", store / "picture")
    assert names_of(CtcDataset([store / "picture"], thumbnail=True, weights=model)) == ["picture"]


def test_sources_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: No such file or directory"):
        CtcDataset(tmp_path / "nowhere", errors="skip")
    with pytest.raises(InputError, match=r"there is no \*\.ctc or \*\.tar file in this folder"):
        CtcDataset(tmp_path)
    with pytest.raises(InputError, match=r"a\.tar: No such file"):
        CtcDataset(tmp_path / "a.tar")


# --- workers, ranks, order --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_two_workers_share_files_and_shards(store: Path, photographs: dict[str, bytes], start: str) -> None:
    with served(store) as site:
        urls = [f"{site.url}/files/{name}" for name in photographs]
        dataset = CtcDataset([f"{site.url}/0.tar", *urls], bpp=0.5, shuffle=3)
        next(iter(dataset))  # with its model, and the store's client, in the parent
        site.forget()
        loader = DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context=start)
        samples = list(loader)
        assert len(loader) == len(samples) == 10
        assert len({sample["name"] for sample in samples}) == 10
        assert sum(sample["bytes"] for sample in samples) == sum(site.sent)
        assert sum(site.sent) < 10 * 27_000 / 10
    for sample in samples:
        check(sample, photographs, 0.5, ctc_codec.load_model(threads=1))


def test_workers_and_ranks_get_every_sample_once(
    store: Path, monkeypatch: pytest.MonkeyPatch, model: CodecModel
) -> None:
    loaded = []
    monkeypatch.setattr(torch_dataset, "load_model", lambda path, threads: loaded.append(threads) or model)
    dataset = CtcDataset([store / "0.tar", store / "files"], thumbnail=True, shuffle=1)
    counts = []
    names: list[str] = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        for worker in range(3):
            info = type("Info", (), {"id": worker, "num_workers": 3})
            monkeypatch.setattr(torch_dataset, "get_worker_info", lambda info=info: info)
            samples = list(dataset)
            names += [sample["name"] for sample in samples]
            counts.append(len(samples))
        assert len(dataset) == 5
    assert counts == [2, 2, 1, 2, 2, 1]
    assert loaded == [1] * 6, "one thread in workers"
    assert len(set(names)) == len(names) == 10


def test_the_rank_goes_with_the_dataset_to_a_worker(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = CtcDataset(store / "files")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert len(dataset) == 3
    with monkeypatch.context() as initialised:
        distributed = torch_dataset.distributed
        initialised.setattr(distributed, "is_initialized", lambda: True)
        initialised.setattr(distributed, "get_rank", lambda: 3)
        initialised.setattr(distributed, "get_world_size", lambda: 4)
        assert len(dataset) == 1
        sent = pickle.dumps(dataset)
    assert len(pickle.loads(sent)) == 1
    assert len(dataset) == 3


def test_shuffling_is_another_order_in_each_epoch_and_the_same_again(
    tmp_path: Path, model: CodecModel
) -> None:
    for number in range(12):
        shutil.copy(GOLDEN / "one-pixel.ctc", tmp_path / f"{number:02}.ctc")

    def orders(seed: int | None) -> Iterator[list[str]]:
        dataset = CtcDataset(tmp_path, shuffle=seed, weights=model)
        for epoch in (0, 1, 0):
            dataset.set_epoch(epoch)
            yield [sample["name"] for sample in dataset]

    plain, first = list(orders(None)), list(orders(5))
    assert plain[0] == plain[1] == plain[2] == sorted(plain[0])
    assert first[0] == first[2]
    assert len({tuple(order) for order in (*plain[:1], *first[:2])}) == 3
    assert sorted(first[0]) == sorted(first[1]) == plain[0]
    assert first == list(orders(5))
    assert first[0] != next(orders(7))


# --- what goes wrong --------------------------------------------------------------------------------


@pytest.fixture
def damaged(store: Path) -> Path:
    """A folder of six files, of which two are no good."""
    files = store / "files"
    whole = (files / "1.photo.ctc").read_bytes()
    (files / "1.photo.ctc").write_bytes(changed(whole, 600, 1))
    (files / "3.photo.ctc").write_bytes(b"no picture")
    return files


@pytest.mark.parametrize(
    ("number", "error"), [(1, "wrong check sum"), (3, "not a .ctc file"), (7, "No such")]
)
def test_what_is_wrong_names_its_file(damaged: Path, model: CodecModel, number: int, error: str) -> None:
    path = damaged / f"{number}.photo.ctc"
    with pytest.raises(CtcError, match=error) as caught:
        list(CtcDataset([damaged / "0.photo.ctc", path], bpp=0.5 if number != 1 else None, weights=model))
    assert str(caught.value).startswith(f"{path}: ")
    assert isinstance(caught.value, InputError if number == 7 else FormatError)


def test_what_is_wrong_is_skipped_with_one_warning(damaged: Path, model: CodecModel) -> None:
    gone = damaged / "7.photo.ctc"
    dataset = CtcDataset([damaged, gone], weights=model, errors="skip")
    with pytest.warns(UserWarning, match=r"left out: .*photo\.ctc: ") as told:
        assert names_of(dataset) == [f"{at}.photo.ctc" for at in (0, 2, 4, 5)]
    assert len(told) == 3
    assert len(dataset) == 7
    assert names_of(dataset) == [f"{at}.photo.ctc" for at in (0, 2, 4, 5)]  # and no warning


def test_what_is_behind_the_bytes_that_are_wanted_is_not_looked_at(damaged: Path, model: CodecModel) -> None:
    whole = (damaged / "0.photo.ctc").read_bytes()
    (damaged / "0.photo.ctc").write_bytes(changed(whole, 20_000, 1))
    (sample,) = CtcDataset(damaged / "0.photo.ctc", bpp=0.5, weights=model)
    assert sample["bytes"] < 4096


def test_shards_that_are_damaged_or_missing(store: Path, model: CodecModel) -> None:
    whole = (store / "0.tar").read_bytes()
    at = whole.index(b"2%2Ephoto.ctc")
    (store / "0.tar").write_bytes(changed(whole, at, 1))
    with pytest.raises(InputError, match=r"0\.tar: damaged tar file at byte"):
        CtcDataset(store / "0.tar")
    with pytest.warns(UserWarning, match=r"left out: .*(0\.tar: damaged|2\.tar: No such file)") as told:
        dataset = CtcDataset([store / "0.tar", store / "2.tar"], weights=model, errors="skip")
    assert len(told) == 2
    assert names_of(dataset) == ["0.photo.ctc", "1.photo.ctc"]


@pytest.mark.parametrize("parts", [True, False])
def test_a_cut_file_is_a_picture(
    store: Path, photographs: dict[str, bytes], model: CodecModel, parts: bool
) -> None:
    whole = photographs["0.photo.ctc"]
    with served(store) as site:
        site.ranges = parts
        for count in (1024, 1100, 5000) if parts else (1100, 5000):  # a first request may end at 1024
            (store / "cut.ctc").write_bytes(whole[:count])
            (sample,) = CtcDataset(f"{site.url}/cut.ctc", bpp=4.0, weights=model)
            assert torch.equal(sample["image"], expected(ctc_codec.decode(whole[:count], weights=model)))
            assert sample["bytes"] == count


def test_arguments_are_checked(store: Path, tmp_path: Path) -> None:
    for wrong in ({"bpp": 1.0, "nbytes": 9}, {"nbytes": 9, "thumbnail": True}, {"errors": "ignore"}):
        with pytest.raises(ValueError, match=r"at most one|errors is"):
            CtcDataset(store, **wrong)
    for wrong in ({"bpp": "1"}, {"nbytes": 1.5}, {"thumbnail": 1}, {"shuffle": True}):
        with pytest.raises(TypeError, match=next(iter(wrong))):
            CtcDataset(store, **wrong)
    for wrong in ({"bpp": 0.0}, {"bpp": float("nan")}, {"nbytes": 0}):
        with pytest.raises(TargetError, match="must be positive"):
            CtcDataset(store, **wrong)
    dataset = CtcDataset(store, weights=tmp_path / "none.safetensors", errors="skip")
    with pytest.raises(WeightsError, match="no such weights file"):
        list(dataset)


def test_nothing_is_loaded_before_it_is_needed(store: Path) -> None:
    """No onnxruntime for the dataset, so that workers can be forked; no torch for the package."""
    script = f"""
import sys, ctc_codec
assert "torch" not in sys.modules
from ctc_codec.torch_dataset import CtcDataset
import pickle
dataset = CtcDataset({str(store)!r})
assert len(dataset) == 12
pickle.loads(pickle.dumps(dataset))
print("onnxruntime" in sys.modules, "fsspec" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]
