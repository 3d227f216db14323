"""The list of VOC's augmented training set."""

from __future__ import annotations

from pathlib import Path

from wsss.data import fetch
from wsss.data.fetch import FETCHES, SBD_LIST, Bars, Fetch, fetch_list, with_address


@FETCHES.register
class SbdList(Fetch):
    name = SBD_LIST
    about = "10,582 ids: VOC's training images and SBD's (Hariharan et al., 2011), none of VOC's val"
    after = ("voc2012",)

    @classmethod
    def run(cls, folder: Path, address: str | None, bars: Bars) -> Path | None:
        return fetch_list(with_address(fetch.sources()[SBD_LIST], address), folder)
