"""A real S3 server on this machine for tests, and addresses of storages on it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@contextmanager
def s3_server() -> Iterator[str]:
    """Start a server; give its "host:port". It has the bucket `bucket`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = (
        "import logging; logging.getLogger('werkzeug').setLevel(logging.ERROR); "
        f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"
    )
    os.environ.update(KEYS)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        bucket = urllib.request.Request(f"http://127.0.0.1:{port}/bucket", method="PUT")
        until = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(bucket, timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError):
                assert process.poll() is None, "the S3 server has ended"
                assert time.monotonic() < until, "the S3 server does not answer"
                time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def s3_address(server: str) -> str:
    """Return the address of an empty storage."""
    return f"s3://bucket/{uuid.uuid4().hex[:8]}?endpoint_override={server}&scheme=http"
