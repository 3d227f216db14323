"""PASCAL VOC 2012, photos and masks."""

from __future__ import annotations

from pathlib import Path

from wsss.data import fetch
from wsss.data.fetch import FETCHES, VOC, Bars, Fetch, fetch_archive, with_address


@FETCHES.register
class Voc2012(Fetch):
    name = VOC
    about = "PASCAL VOC 2012, training and validation images: 2 GB"

    @classmethod
    def run(cls, folder: Path, address: str | None, bars: Bars) -> Path | None:
        return fetch_archive(with_address(fetch.sources()[VOC], address), folder, *bars)
