"""The result of a foreign program: it is read as `import` reads files, with the same checks."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wsss.data.pictures.sizes import working_size
from wsss.data.view import DataView, photo_sizes, working_sizes
from wsss.errors import DataError, Problem
from wsss.files import place
from wsss.masks.foreign import foreign_files, read_cams, read_segmentation
from wsss.masks.foreign.files import MOST_PROBLEMS
from wsss.masks.images import write_mask
from wsss.stages.kinds.programs.command import CommandParams
from wsss.stages.programs.given import FILES
from wsss.stages.shards import map_shards, split_shards, write_index, write_shard

MOST_FILES = 100_000


class Result:
    """Reads the files that a program wrote, chunk by chunk.

    Args:
        params: what they are.
        data: the images.
        images: ids of which there must be something.
        out: where the program wrote.
        work: where chunks are kept.
    """

    def __init__(
        self, params: CommandParams, data: DataView, images: tuple[str, ...], out: Path, work: Path
    ) -> None:
        self.params, self.data, self.images, self.out, self.work = params, data, images, out, work
        self.keys = data.present(images) if params.makes == "cams" else {}
        self.shards = split_shards(images)
        if params.makes == "cams":
            maps = {id: len(keys) for id, keys in self.keys.items()}
            self.shards = map_shards(maps, working_sizes(data, images))

    def read(self) -> Iterator[int]:
        """Read the files; yield how many images are done. Raises `DataError`."""
        if self.out.is_symlink() or not self.out.is_dir():
            message = "the program ended well, but {out} is no longer the folder that it was given"
            raise DataError(Problem(str(self.out), message))
        if not any(self.out.iterdir()):
            raise DataError(Problem(str(self.out), "the program ended well, but wrote nothing to {out}"))
        if self.params.makes == "files":
            _files(self.out)
            return
        kind = self.params.makes
        sources = foreign_files(self.out, self.images, "masks" if kind == "pseudo_masks" else kind)
        done = 0
        refused: list[Problem] = []
        for number, ids in enumerate(self.shards):
            arrays: dict[str, np.ndarray] = {}
            for id, (width, height) in photo_sizes(self.data, ids).items():
                try:
                    self._read_one(id, sources[id], (height, width), arrays)
                except DataError as error:  # all bad files are said at once
                    refused += error.problems
            if len(refused) >= MOST_PROBLEMS:
                break
            if self.params.makes == "cams" and not refused:
                write_shard(self.work, number, arrays)
            done += len(ids)
            yield done
        if refused:
            raise DataError(refused[:MOST_PROBLEMS])

    def _read_one(self, id: str, path: Path, size: tuple[int, int], arrays: dict[str, np.ndarray]) -> None:
        if self.params.makes != "cams":
            classes = len(self.data.dataset.classes)
            mask = read_segmentation(path, classes, size, self.params.reads.maps)
            write_mask(self.work / f"{id}.png", mask)
        elif len(self.keys[id]):
            arrays[id], _ = read_cams(
                path,
                self.data.dataset.classes,
                size,
                self.keys[id],
                working_size(size[1], size[0])[::-1],
                missing=self.params.missing,
                maps=self.params.reads.maps,
                keys=self.params.reads.ids,
            )

    def finish(self, folder: Path) -> int:
        """Move the chunks into the artefact's folder; return the number of images or files."""
        if self.params.makes == "files":
            names = _files(self.out)
            for name in names:
                (folder / FILES / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.out / name, folder / FILES / name)
            return len(names)
        if self.params.makes == "cams":
            write_index(self.work, folder, self.shards, self.keys)
        else:
            for id in self.images:
                place(self.work / f"{id}.png", folder / f"{id}.png")
        return len(self.images)


def _files(out: Path) -> list[str]:
    """Return the names of all files below a folder. Raises `DataError` for links, pipes and too many."""
    names = []
    for parent, folders, files in os.walk(out):
        for name in (*folders, *files):
            path = Path(parent, name)
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise DataError(
                    Problem(str(path), "is a link or no file, but results must be files of their own")
                )
        names += [os.path.relpath(os.path.join(parent, name), out) for name in files]
        if len(names) > MOST_FILES:
            raise DataError(Problem(str(out), f"holds more than {MOST_FILES} files", "pack them"))
    if not names:
        raise DataError(Problem(str(out), "the program ended well, but wrote no file to {out}"))
    return sorted(names)
