"""Addresses of storages and tracking servers from strangers: nothing is asked of the network."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from bounds import examples, survives
from hostile import texts
from hypothesis import example, given
from hypothesis import strategies as st

from wsss.config.text.location import is_remote, parse_location
from wsss.tracking.location import database_file, tracking_uri
from wsss.tracking.reach import reach

schemes = st.sampled_from(
    [
        "s3",
        "gs",
        "abfs",
        "hdfs",
        "file",
        "http",
        "https",
        "sqlite",
        "postgresql",
        "mysql+pymysql",
        "S3",
        "",
        "x",
    ]
)
hosts = (
    st.sampled_from(
        [
            "bucket",
            "",
            "[::1",
            "[::1]",
            "host:99999",
            "host:x",
            "host:",
            ":@",
            "u:p@h",
            "a" * 300,
            "xn--",
            "%zz",
            ".",
        ]
    )
    | texts
)
rests = (
    st.sampled_from(["", "/", "/prefix", "//", "/../..", "?a=b", "?", "#x", "/%00", "/" + "x" * 5000]) | texts
)
addresses = st.builds("{}://{}{}".format, schemes, hosts, rests) | texts


@pytest.fixture(autouse=True, scope="module")
def _no_network() -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("the test has no network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "create_connection", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


@given(addresses)
@example("~no-such-user-at-all/x")
@example("~" + "x" * 300)
@example("a\0b")
@example("\ud800")
@example("file:///a%00b")
@example("s3://" + "a" * 200_000)
@example("s3://u:" + "p" * 50_000 + "@bucket")
@example("?" * 20_000 + "://")
@example("a=" * 20_000)
@example("://" * 10_000)
@examples(250)
def test_any_storage(text: str) -> None:
    found = survives(lambda: parse_location(text), ValueError)
    if isinstance(found, Path):
        assert found.is_absolute()
    elif found is not None:
        assert is_remote(found)


@given(addresses)
@example("http://[::1")
@example("http://host:99999")
@example("sqlite:///" + "x" * 100_000)
@example("postgresql://u:" + "p" * 50_000 + "@host")
@examples(250)
def test_any_tracking(text: str) -> None:
    uri = survives(lambda: tracking_uri(text, Path("/storage")))
    if uri is not None:
        survives(lambda: database_file(uri))
        survives(lambda: reach(uri, timeout=0.1))
