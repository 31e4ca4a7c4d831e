"""Training photographs: folders or tar shards of images, decoded once into one tensor.

The store may grow while it is in use: shards that arrive late are decoded in the background.
"""

from __future__ import annotations

import contextlib
import io
import queue
import tarfile
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}

_SETTLED_S = 5.0
"""A file that comes while training runs is taken when nobody has written to it for so long."""


def files_of(sources: Iterable[Path]) -> Iterator[Path]:
    """The images and tar shards below the sources, which are folders or such files themselves."""
    for source in sources:
        paths = sorted(source.rglob("*")) if source.is_dir() else [source]
        for path in paths:
            if path.suffix.lower() in _SUFFIXES | {".tar"} and path.is_file():
                yield path


def images_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of every image in a tar shard, or of the file itself. Raises ValueError, OSError."""
    if path.suffix.lower() != ".tar":
        yield path.name, path.read_bytes()
        return
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                data = tar.extractfile(member) if member.isfile() else None
                if data is not None and Path(member.name).suffix.lower() in _SUFFIXES:
                    yield Path(member.name).name, data.read()
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{path}: not a usable shard ({error})") from None


def _settled(path: Path) -> bool:
    """Whether a file is probably complete: nobody writes to it, and a shard ends as tar files do."""
    if time.time() - path.stat().st_mtime < _SETTLED_S:
        return False
    if path.suffix.lower() != ".tar":
        return True
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - 1024, 0))
        return file.read() == bytes(1024)


def _decode(named: tuple[str, bytes]) -> np.ndarray:
    name, data = named
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name}: not a usable training image ({error})") from None


class PatchStore:
    """All training images in one uint8 tensor on one device; crops are gathered there.

    Keeps images of at least ``crop`` pixels on both sides. Raises ValueError when none is left, or for a
    damaged image or shard."""

    def __init__(
        self,
        sources: Iterable[Path],
        crop: int,
        device: torch.device,
        exclude: tuple[str, ...] = (),
        limit: int | None = None,
    ) -> None:
        self.crop = crop
        self.device = device
        self.images = 0
        self.megapixels = 0.0
        self._sources = list(sources)
        self._exclude = exclude
        self._limit = limit
        self._known: set[Path] = set()
        self._arrived: queue.SimpleQueue[list[np.ndarray]] = queue.SimpleQueue()
        self._pixels = torch.empty(0, 3, dtype=torch.uint8, device=device)
        self._sizes = torch.empty(0, 2, dtype=torch.int64)
        self._append(self._decode_new(strict=True))
        if not self.images:
            raise ValueError(f"no training image of at least {crop}x{crop} pixels found")

    def _decode_new(self, strict: bool) -> list[np.ndarray]:
        """Images of files not seen before. A damaged file is an error or, if not strict, left for the
        next time, like one that may not be complete yet."""
        images: list[np.ndarray] = []
        with ThreadPoolExecutor() as pool:
            waiting: list[tuple[Path, list[Future[np.ndarray]]]] = []
            count = self.images
            for path in files_of(self._sources):
                if path in self._known or (not strict and not _settled(path)):
                    continue
                try:
                    named = [item for item in images_of(path) if not item[0].startswith(self._exclude)]
                except (OSError, ValueError):
                    if strict:
                        raise
                    continue
                if self._limit is not None:
                    named = named[: max(self._limit - count, 0)]
                count += len(named)
                waiting.append((path, [pool.submit(_decode, item) for item in named]))
                if self._limit is not None and count >= self._limit:
                    break
            for path, decoding in waiting:
                try:
                    decoded = [future.result() for future in decoding]
                except (OSError, ValueError):
                    if strict:
                        raise
                    continue
                self._known.add(path)
                images += [a for a in decoded if min(a.shape[:2]) >= self.crop]
        return images

    def _append(self, images: list[np.ndarray]) -> None:
        if not images:
            return
        flat = np.concatenate([a.reshape(-1, 3) for a in images])
        self._pixels = torch.cat((self._pixels, torch.from_numpy(flat).to(self.device)))
        self._sizes = torch.cat((self._sizes, torch.tensor([a.shape[:2] for a in images])))
        self.images = len(self._sizes)
        area = self._sizes.prod(dim=1)
        end = torch.cumsum(area, 0)
        self.megapixels = float(end[-1]) / 1e6
        self._height, self._width = self._sizes.to(self.device).unbind(1)
        self._start = (end - area).to(self.device)
        self._cumulative = (end.double() / end[-1]).to(self.device)

    def watch(self, every_s: float = 10.0) -> None:
        """Look for new files from now on, in a background thread; :meth:`poll` adds their images."""

        def look() -> None:
            while True:
                time.sleep(every_s)
                with contextlib.suppress(Exception):  # a folder that goes away must not end the watch
                    images = self._decode_new(strict=False)
                    if images:
                        self._arrived.put(images)

        threading.Thread(target=look, daemon=True).start()

    def poll(self) -> int:
        """Add what the watching thread has decoded meanwhile; returns the number of images added."""
        before = self.images
        with contextlib.suppress(queue.Empty):
            while True:
                self._append(self._arrived.get_nowait())
        return self.images - before

    def batch(self, size: int, generator: torch.Generator) -> Tensor:
        """Random crops, float32 [size, 3, crop, crop] in 0..1, mirrored at random.

        Twice as many crops are drawn as needed and, of each pair, the one with more gradient energy
        is kept three times out of four: many photographs are half sky. Waits for nothing on the host.
        """
        device, crop = self.device, self.crop
        n = 2 * size

        def rand() -> Tensor:
            return torch.rand(n, generator=generator, device=device)

        index = torch.searchsorted(self._cumulative, rand().double()).clamp(max=self.images - 1)
        top = (rand() * (self._height[index] - crop + 1)).long()
        left = (rand() * (self._width[index] - crop + 1)).long()
        width, start = self._width[index], self._start[index]

        def gather(which: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
            offset = start[which] + top[which] * width[which] + left[which]
            at = offset[:, None, None] + rows[:, :, None] * width[which, None, None] + columns[:, None]
            return self._pixels[at]

        everyone = torch.arange(n, device=device)
        sparse = torch.arange(0, crop - 1, 4, device=device).expand(n, -1)
        small = gather(everyone, sparse, sparse)[..., 1].float()
        shifted = gather(everyone, sparse + 1, sparse + 1)[..., 1].float()
        energy = (small - shifted).abs().mean((1, 2))
        first, second = energy.view(2, size)
        best = torch.where(first >= second, 0, size) + torch.arange(size, device=device)
        keep = torch.where(rand()[:size] < 0.75, best, everyone[:size])

        line = torch.arange(crop, device=device)
        flip_rows, flip_columns = (rand()[:size, None] < 0.5 for _ in range(2))
        rows = torch.where(flip_rows, crop - 1 - line, line)
        columns = torch.where(flip_columns, crop - 1 - line, line)
        return gather(keep, rows, columns).permute(0, 3, 1, 2).float().div_(255)
