"""One storage with a segmenter in it, for all tests of prediction."""

from __future__ import annotations

from pathlib import Path

import pytest
from trained import commit_segmenter

from wsss.store.artefact import Artefact


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "runs"
    commit_segmenter(folder)
    return folder


@pytest.fixture(scope="session")
def segmenter(storage: Path) -> Artefact:
    from wsss.store.folder_store import Store

    return next(iter(Store(storage / "store")))
