"""A PyTorch dataset: images of .ctc files at whatever quality a step needs, of which only that much is read.

    from torch.utils.data import DataLoader
    from ctc_codec.torch_dataset import CtcDataset

    dataset = CtcDataset("https://host/shards/0000.tar", bpp=0.25, shuffle=1)
    for epoch in range(10):
        dataset.set_epoch(epoch)
        for sample in DataLoader(dataset, batch_size=None, num_workers=4):
            ...  # sample["image"]: uint8 [3, height, width]

Needs torch, and fsspec for URLs.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import torch
from torch import distributed
from torch.utils.data import IterableDataset, get_worker_info

from .codec.decoder import Decoder
from .codec.model import CodecModel, load_model
from .codec.options import thumbnail_bytes
from .codec.walk import picture_bytes
from .container import shards, storage
from .container.file import rate_bytes
from .container.header import MAX_HEADER_BYTES, Header
from .container.storage import read_part
from .errors import CtcError, InputError, TargetError, check_counts, check_flags, check_numbers

Source = str | os.PathLike[str]

_SHARD = ".tar"
_FIRST_BYTES = 1 << 10
"""Bytes of the first request, until a file has told how many are needed."""
_MARGIN = 1.25
_RECENT = 8
"""A first request is for the mean of about so many files, with this margin: of files of mixed sizes, four in
five need no second one."""
_LOOKERS = 16
"""Shards whose headers are read at once: that is waiting for a store."""


class Sample(TypedDict):
    """What a :class:`CtcDataset` gives.

    image: uint8 [3, height, width], RGB.
    name: path or URL of the file; of a file in a shard the shard's, a slash, and the file's name in it.
    bytes: fetched from the store for it.
    """

    image: torch.Tensor
    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """A .ctc file, or one in a shard.

    place: path or URL to read from.
    name: as of :class:`Sample`.
    offset: of its first byte.
    size: bytes, None if that is not known.
    """

    place: str
    name: str
    offset: int = 0
    size: int | None = None


@dataclass(frozen=True)
class _Rate:
    """How much of a file is wanted, as arguments of :class:`CtcDataset`. Raises as that."""

    bpp: float | None = None
    nbytes: int | None = None
    thumbnail: bool = False

    def __post_init__(self) -> None:
        check_numbers(bpp=self.bpp)
        check_counts(nbytes=self.nbytes)
        check_flags(thumbnail=self.thumbnail)
        if (self.bpp is not None) + (self.nbytes is not None) + self.thumbnail > 1:
            raise ValueError("give at most one of bpp, nbytes and thumbnail")
        if self.bpp is not None and not 0 < self.bpp < math.inf:
            raise TargetError(f"bpp must be positive, not {self.bpp}")
        if self.nbytes is not None and self.nbytes < 1:
            raise TargetError(f"nbytes must be positive, not {self.nbytes}")

    def count(self, header: Header, first: Callable[[int], bytes]) -> int:
        """Bytes of a file; ``first`` gives so many of its beginning. Raises TargetError."""
        if self.thumbnail:
            return thumbnail_bytes(header)
        if self.bpp is None and self.nbytes is None:
            return header.file_bytes

        def smallest() -> int:
            return picture_bytes(first(header.first_bytes)) or header.first_bytes

        return rate_bytes(header, smallest, bpp=self.bpp, nbytes=self.nbytes)


class _Beginning:
    """The beginning of a .ctc file, which grows as it is asked for.

    fetched: bytes that came from the store.
    """

    def __init__(self, entry: _Entry) -> None:
        self._entry = entry
        self._data = b""
        self._ended = False
        self.fetched = 0

    def first(self, count: int) -> bytes:
        """The first bytes, ``count`` of them if there are so many. Raises OSError."""
        entry = self._entry
        asked = (count if entry.size is None else min(count, entry.size)) - len(self._data)
        if asked > 0 and not self._ended:
            piece = read_part(entry.place, entry.offset + len(self._data), asked)
            self._ended = len(piece) != asked  # or more came than was asked for: all that there is
            self.fetched += len(piece)
            self._data += piece
        return self._data[:count]


class CtcDataset(IterableDataset[Sample]):
    """Images of .ctc files, local or behind URLs, of which only the beginnings are read that a rate asks for.

    Each is a :class:`Sample`, a dict of "image", "name" and "bytes". An image is uint8 [3, height, width] RGB
    whatever the file's mode: grey is repeated, and of transparency the colours remain. Sizes differ, so a
    DataLoader takes ``batch_size=None``, or a ``collate_fn`` that crops.

    Usually a file, and a file in a shard, costs one request, of a quarter more bytes than the files before it
    needed on average. A second one fetches what is missing.

    Every sample comes once: they are dealt, in order, to the ranks of torch.distributed (or, where it is not
    initialised, of RANK and WORLD_SIZE in the environment), and those of a rank to the workers of its
    DataLoader, which therefore share a shard. Nothing is repeated or dropped to make ranks alike: the first
    ones may get one sample more.

    Files are listed, and headers of shards are read, when the dataset is made. The model is loaded in each
    process that decodes, with one thread in workers of a DataLoader.
    """

    def __init__(
        self,
        sources: Source | Sequence[Source],
        *,
        bpp: float | None = None,
        nbytes: int | None = None,
        thumbnail: bool = False,
        shuffle: int | None = None,
        weights: str | os.PathLike[str] | CodecModel | None = None,
        errors: str = "raise",
    ) -> None:
        """List the files of sources.

        sources: .ctc files, tar shards of them (see :mod:`ctc_codec.container.shards`) and folders, which are
            searched for both, sorted by name; paths or URLs.
        bpp: bits per pixel that are read of each file, at most; the smallest picture where that is less than
            a header.
        nbytes: bytes that are read of each file, at most.
        thumbnail: give pictures of 1/8 of each side, fast, of the bytes that :func:`ctc_codec.thumbnail`
            reads. Without any of these three, files are read whole.
        shuffle: a seed, for another order in each epoch, see :meth:`set_epoch`; None for that of the list.
        weights: a weights file, a loaded model, or None for the packaged weights.
        errors: "raise", or "skip" to leave out files and shards that are damaged or missing, with a warning,
            in each process one for each.

        Raises InputError for a source that is not there, and for a folder without such files; ValueError,
        TypeError, TargetError. Iterating raises CtcError that names the file, and WeightsError.
        """
        super().__init__()
        if errors not in ("raise", "skip"):
            raise ValueError(f"errors is 'raise' or 'skip', not {errors!r}")
        check_counts(shuffle=shuffle)
        self._seed = shuffle
        self._weights = weights
        self._skips = errors == "skip"
        self._told: set[str] = set()
        self._epoch = 0
        self._place: tuple[int, int] | None = None
        self.set_rate(bpp=bpp, nbytes=nbytes, thumbnail=thumbnail)
        several = [sources] if isinstance(sources, str | os.PathLike) else sources
        self._entries = self._listed([os.fspath(source) for source in several])

    def set_rate(
        self, *, bpp: float | None = None, nbytes: int | None = None, thumbnail: bool = False
    ) -> None:
        """Read more, or less, of each file from the next iteration on. Arguments and errors as of the class.

        Workers that run already do not hear of it: with ``persistent_workers=True`` make a new DataLoader.
        """
        self._rate = _Rate(bpp, nbytes, thumbnail)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration: a permutation of the whole list, by ``torch.randperm`` with
        the sum of seed and epoch, the same on every rank.

        Without a seed nothing changes. Running workers do not hear of it, as of :meth:`set_rate`. Raises
        TypeError.
        """
        check_counts(epoch=epoch)
        self._epoch = epoch

    def __len__(self) -> int:
        """Samples of this rank, damaged ones too."""
        rank, ranks = self._ranks()
        return len(range(rank, len(self._entries), ranks))

    def __iter__(self) -> Iterator[Sample]:
        """The samples of this rank and worker."""
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        rank, ranks = self._ranks()
        model = self._weights
        if not isinstance(model, CodecModel):
            model = load_model(model, None if info is None else 1)
        reader = _Reader(model, self._rate)
        for number in self._order()[rank::ranks][worker::workers]:
            entry = self._entries[number]
            try:
                sample = reader.read(entry)
            except (CtcError, OSError) as error:
                self._fail(entry.name, error)
            else:
                yield sample

    def __getstate__(self) -> dict[str, Any]:
        """With the rank, which a worker that is spawned cannot ask for."""
        return self.__dict__ | {"_place": self._ranks() if _is_distributed() else self._place}

    def _ranks(self) -> tuple[int, int]:
        """This process's rank, and how many there are."""
        if _is_distributed():
            return distributed.get_rank(), distributed.get_world_size()
        if self._place is not None:
            return self._place
        if {"RANK", "WORLD_SIZE"} <= os.environ.keys():
            return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        return 0, 1

    def _order(self) -> list[int]:
        if self._seed is None:
            return list(range(len(self._entries)))
        chance = torch.Generator().manual_seed(self._seed + self._epoch)
        order: list[int] = torch.randperm(len(self._entries), generator=chance).tolist()
        return order

    def _fail(self, name: str, error: CtcError | OSError) -> None:
        """Raise the error as one that names its file, or warn of it."""
        named = _named(name, error)
        if not self._skips:
            raise named from None
        if name not in self._told:
            self._told.add(name)
            warnings.warn(f"left out: {named}", stacklevel=3)

    def _listed(self, sources: list[str]) -> list[_Entry]:
        """All files of the sources, those in shards among them. Raises InputError."""
        files = [file for source in sources for file in _files_of(source)]
        with ThreadPoolExecutor(_LOOKERS) as pool:
            looks = [pool.submit(_entries_of, file) if _is_shard(file.place) else None for file in files]
        entries = []
        for file, look in zip(files, looks, strict=True):
            if look is None:
                entries.append(file)
                continue
            found, error = look.result()
            entries += found
            if error is not None:
                self._fail(file.name, error)
        return entries


def _is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _named(name: str, error: CtcError | OSError) -> CtcError:
    if isinstance(error, CtcError):
        return type(error)(f"{name}: {error}")
    return InputError(f"{name}: {error.strerror or type(error).__name__}")


# --- listing ----------------------------------------------------------------------------------------


def _suffix(name: str) -> str:
    path = name.partition("?")[0] if name.startswith("http") else name  # a signed URL has more behind it
    return os.path.splitext(path)[1].lower()


def _is_shard(name: str) -> bool:
    return _suffix(name) == _SHARD


def _is_wanted(name: str) -> bool:
    return _suffix(name) in (shards.SUFFIX, _SHARD)


def _files_of(source: str) -> list[_Entry]:
    """The files and shards that a source names, or that are below it. Raises InputError."""
    try:
        if storage.is_url(source):
            if _is_wanted(source):
                return [_Entry(source, source)]
            sizes: dict[str, int | None] = {**storage.sizes(source)}
            paths = {relative: storage.joined(source, relative) for relative in sizes}
        else:
            folder = storage.local_name(source)
            if not os.path.isdir(folder):
                if not _is_wanted(folder):
                    os.stat(folder)  # a file of any name, or nothing
                return [_Entry(folder, source)]
            paths = {relative: os.path.join(folder, relative) for relative in _walk(folder)}
            sizes = {}
    except OSError as error:
        raise _named(source, error) from None
    names = sorted(
        name for name in paths if _is_wanted(name) and not name.startswith(".") and "/." not in name
    )
    if not names:
        raise InputError(f"{source}: there is no *.ctc or *.tar file in this folder")
    return [_Entry(paths[name], paths[name], size=sizes.get(name) or None) for name in names]


def _walk(folder: str) -> Iterator[str]:
    """Files below a folder, by paths with slashes. Raises OSError."""

    def fail(error: OSError) -> None:
        raise error

    for place, _, files in os.walk(folder, onerror=fail):
        for name in files:
            yield os.path.relpath(os.path.join(place, name), folder).replace(os.sep, "/")


def _entries_of(shard: _Entry) -> tuple[list[_Entry], OSError | None]:
    """The files in a shard, and why there are no more if that is an error."""
    found: list[_Entry] = []
    try:
        for member in shards.members(shard.place):
            name = f"{shard.name}/{shards.relative_name(member.name)}"
            found.append(_Entry(shard.place, name, member.offset, member.size))
    except OSError as error:
        return found, error
    return found, None


# --- reading ----------------------------------------------------------------------------------------


class _Reader:
    """Reads files at a rate, and remembers how many bytes they needed."""

    def __init__(self, model: CodecModel, rate: _Rate) -> None:
        self._model = model
        self._rate = rate
        self._mean: float | None = None

    def read(self, entry: _Entry) -> Sample:
        """The sample of a file. Raises CtcError, OSError."""
        source = _Beginning(entry)
        header = Header.parse(source.first(max(self._likely(), MAX_HEADER_BYTES)))[0]
        count = self._rate.count(header, source.first)
        self._mean = count if self._mean is None else self._mean + (count - self._mean) / _RECENT
        decoder = Decoder(weights=self._model)
        decoder.feed(source.first(count))
        decoder.finish()
        image = decoder.thumbnail() if self._rate.thumbnail else decoder.image()
        pixels = np.asarray(image.convert("RGB")).transpose(2, 0, 1).copy()
        return {"image": torch.from_numpy(pixels), "name": entry.name, "bytes": source.fetched}

    def _likely(self) -> int:
        """Bytes that the next file is likely to need."""
        if self._rate.nbytes is not None:
            return self._rate.nbytes
        return _FIRST_BYTES if self._mean is None else int(self._mean * _MARGIN)
