"""Training photographs: folders or tar shards of images, decoded once into one tensor."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}


def _files(source: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of every image below a folder, in a tar shard, or the file itself."""
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.is_file():
                yield from _files(path)
    elif source.suffix == ".tar":
        with tarfile.open(source) as tar:
            for member in tar:
                data = tar.extractfile(member) if member.isfile() else None
                if data is not None and Path(member.name).suffix.lower() in _SUFFIXES:
                    yield Path(member.name).name, data.read()
    elif source.suffix.lower() in _SUFFIXES:
        yield source.name, source.read_bytes()


def _decode(named: tuple[str, bytes]) -> np.ndarray:
    name, data = named
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{name}: not a usable training image ({error})") from None


class PatchStore:
    """All training images in one uint8 tensor on one device; crops are gathered there.

    Keeps images of at least ``crop`` pixels on both sides. Raises ValueError when none is left.
    """

    def __init__(
        self,
        sources: Iterable[Path],
        crop: int,
        device: torch.device,
        exclude: tuple[str, ...] = (),
        limit: int | None = None,
    ) -> None:
        encoded = []
        for source in sources:
            for name, data in _files(source):
                if not name.startswith(exclude or ("\0",)):
                    encoded.append((name, data))
        if limit is not None:
            encoded = encoded[:limit]
        with ThreadPoolExecutor() as pool:
            images = [a for a in pool.map(_decode, encoded) if min(a.shape[:2]) >= crop]
        if not images:
            raise ValueError(f"no training image of at least {crop}x{crop} pixels found")
        self.crop = crop
        self.device = device
        self.images = len(images)
        self.megapixels = sum(a.shape[0] * a.shape[1] for a in images) / 1e6
        sizes = torch.tensor([a.shape[:2] for a in images], device=device)
        self._height, self._width = sizes[:, 0], sizes[:, 1]
        area = self._height * self._width
        self._start = torch.cumsum(area, 0) - area
        self._weight = area.double() / area.sum()
        flat = np.concatenate([a.reshape(-1, 3) for a in images])
        self._pixels = torch.from_numpy(flat).to(device)

    def batch(self, size: int, generator: torch.Generator) -> Tensor:
        """Random crops, float32 [size, 3, crop, crop] in 0..1, mirrored at random.

        Twice as many crops are drawn as needed and, of each pair, the one with more gradient energy
        is kept three times out of four: many photographs are half sky.
        """
        device, crop = self._pixels.device, self.crop
        n = 2 * size

        def rand() -> Tensor:
            return torch.rand(n, generator=generator, device=device)

        index = torch.multinomial(self._weight, n, replacement=True, generator=generator)
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
