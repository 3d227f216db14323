"""Arrays of many images in few files: the unit of work, of resume and of commit is one shard.

A folder of shards holds `shard-0000.safetensors`, … and `index.json`, which maps every image id to
its shard and its keys. Tensors are named by image id.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from wsss.files import WRITING, place, read_json, write_json

INDEX = "index.json"
SHARD_IMAGES = 64
MOST_BYTES = 2**29
"""Of the maps of a shard of CAMs: of large photos fewer make one."""


def split_shards(ids: Sequence[str], size: int = SHARD_IMAGES) -> list[list[str]]:
    """Cut ids into consecutive runs of `size`."""
    return [list(ids[start : start + size]) for start in range(0, len(ids), size)]


def map_shards(maps: Mapping[str, int], sizes: Mapping[str, tuple[int, int]]) -> list[list[str]]:
    """Cut ids into the runs whose maps make one shard each.

    Args:
        maps: how many float16 maps each image has, in order.
        sizes: (height, width) of an image's maps.
    """
    taken = {id: math.prod(sizes[id]) * count * np.dtype(np.float16).itemsize for id, count in maps.items()}
    return [part for shard in split_shards(list(maps)) for part in parts(shard, taken, MOST_BYTES)]


def parts(items: Sequence[str], sizes: Mapping[str, float], most: float) -> Iterator[list[str]]:
    """Yield runs of items whose sizes add up to at most `most`, or of one item.

    Args:
        items: in their order.
        sizes: of each.
        most: in the unit of the sizes.
    """
    part: list[str] = []
    total = 0.0
    for item in items:
        if part and total + sizes[item] > most:
            yield part
            part, total = [], 0.0
        part.append(item)
        total += sizes[item]
    if part:
        yield part


def write_shard(folder: Path, number: int, arrays: Mapping[str, np.ndarray]) -> None:
    """Write one shard, whole or not at all.

    Args:
        folder: of the shards.
        number: of this one, from 0.
        arrays: by id.
    """
    path = folder / f"shard-{number:04d}.safetensors"
    aside = path.with_suffix(f".{uuid.uuid4().hex[:8]}{WRITING}")  # its own, should two runs write the shard
    save_file(dict(arrays), aside)
    aside.replace(path)


def write_index(
    work: Path, folder: Path, shards: Sequence[Sequence[str]], keys: Mapping[str, np.ndarray]
) -> None:
    """Put finished shards from `work` into `folder` and write the index that makes them readable.

    Args:
        work: where they are.
        folder: the artefact's.
        shards: the ids in each.
        keys: the 0-based classes of each id's maps, int[n].
    """
    entries = {}
    for number, ids in enumerate(shards):
        name = f"shard-{number:04d}.safetensors"
        place(work / name, folder / name)
        entries.update({id: {"shard": number, "keys": [int(key) for key in keys[id]]} for id in ids})
    write_json(folder / INDEX, entries)


class CamShards:
    """Reads CAMs: `cams[id]` gives (float16[n, H, W] in [0, 1], int64[n] 0-based classes).

    An image without classes gives empty arrays of shape [0, 0, 0].
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index: dict[str, dict[str, object]] = read_json(folder / INDEX) or {}

    def __iter__(self) -> Iterator[str]:
        return iter(self.index)

    def __len__(self) -> int:
        return len(self.index)

    def keys(self, id: str) -> np.ndarray:
        """Return the 0-based classes of an image's maps, int64[n]."""
        return np.asarray(self.index[id]["keys"], dtype=np.int64)

    def __getitem__(self, id: str) -> tuple[np.ndarray, np.ndarray]:
        entry = self.index[id]
        keys = self.keys(id)
        if not len(keys):
            return np.zeros((0, 0, 0), np.float16), keys
        number = entry["shard"]
        assert isinstance(number, int)
        with safe_open(self.folder / f"shard-{number:04d}.safetensors", framework="numpy") as shard:
            return np.asarray(shard.get_tensor(id)), keys
