"""Arrays of many images in few files: the unit of work, of resume and of commit is one shard.

A folder of shards holds `shard-0000.safetensors`, … and `index.json`, which maps every image id to
its shard and its keys. Tensors are named by image id.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from wsss.files import place, read_json, write_json

INDEX = "index.json"
SHARD_IMAGES = 64


def split_shards(ids: Sequence[str], size: int = SHARD_IMAGES) -> list[list[str]]:
    """Cut ids into consecutive runs of `size`."""
    return [list(ids[start : start + size]) for start in range(0, len(ids), size)]


def write_shard(folder: Path, number: int, arrays: Mapping[str, np.ndarray]) -> None:
    """Write one shard, whole or not at all.

    Args:
        folder: of the shards.
        number: of this one, from 0.
        arrays: by id.
    """
    path = folder / f"shard-{number:04d}.safetensors"
    aside = path.with_suffix(f".{uuid.uuid4().hex[:8]}.writing")  # its own, should two runs write the shard
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
