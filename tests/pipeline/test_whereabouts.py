"""Paths of a machine become names that say nothing of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsss.pipeline.past.whereabouts import Whereabouts


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/net/anna")
    assert Path.home() == Path("/net/anna")


STUDY = {
    "data": {"labels": "/lab/photos/labels.csv", "root": "/lab/photos", "masks": "none"},
    "sweeps": [{"folder": "/net/anna/code/prog", "run": ["python", "/lab/old/photos", "/", "a/b"]}],
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/lab/photos", "photos"),
        ("/lab/photos/labels.csv", "photos/labels.csv"),  # which stands before its folder in the study
        ("/lab/old/photos", "photos-2"),
        ("/lab/photos2", "/lab/photos2"),
        ("/lab/photos.old", "/lab/photos.old"),
        ("can't read '/lab/photos/a b.jpg'.", "can't read 'photos/a b.jpg'."),
        ("is in /lab/photos.", "is in photos."),
        ("/net/anna/code/prog/x.py", "prog/x.py"),
        ("--ckpt=/net/anna/w.pth", "--ckpt=~/w.pth"),
        ("File \"/home/ben/venv/x.py\", line 3", 'File "~/venv/x.py", line 3'),
        ("sqlite:////net/anna/mlflow.db", "sqlite:///~/mlflow.db"),
        ("/data/runs/store: no space", "runs/store: no space"),
        ("cams/select/miou", "cams/select/miou"),
        ("/", "/"),
        ("a/lab/photos", "a/lab/photos"),
    ],
)  # fmt: skip
def test_a_path_gets_a_name(text: str, expected: str) -> None:
    places = Whereabouts({"/data/runs": "runs"}, [STUDY])
    assert places.without(text) == expected
    assert places.without([{text: (text, 1, None)}]) == [{expected: [expected, 1, None]}]


def test_homes_lose_their_owner() -> None:
    places = Whereabouts({}, {"root": "/home/ben", "other": "/net/anna", "weights": "/home/ben/r.pth"})
    assert places.without(["/home/ben/r.pth", "/net/anna/x", "/Users/eve/y"]) == [
        "home/r.pth", "home-2/x", "~/y",
    ]  # fmt: skip


def test_the_order_of_keys_changes_no_name() -> None:
    one = Whereabouts({}, {"a": "/x/w.pth", "b": "/y/w.pth"})
    two = Whereabouts({}, {"b": "/y/w.pth", "a": "/x/w.pth"})
    assert one.without(["/x/w.pth", "/y/w.pth"]) == two.without(["/x/w.pth", "/y/w.pth"])


def test_a_user_without_a_home_of_its_own_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    assert Whereabouts({}, {}).without("/a/b and a/b") == "/a/b and a/b"
