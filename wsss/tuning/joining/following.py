"""Following a job to its end: what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import http.client
import sys
from typing import Any

import wsss.tuning.environment  # noqa: F401 - first: Ray reads it when imported

from ray.exceptions import RayError  # isort: skip
from ray.job_submission import JobStatus, JobSubmissionClient  # isort: skip

from wsss.errors import PreflightError, Problem
from wsss.tuning.joining.dashboard import ask

LOOK_SECONDS, PATIENCE = 5.0, 20.0
"""How often the dashboard is asked whether it is there, and how long it may not answer: a host that loses its
power, or its network, closes no connection."""
BEGINS = "Running entrypoint for job "
"""The last line of Ray's own before what the job prints."""


def follow_job(number: str, address: str) -> int:
    """Print a job's output until it ends; return the exit code of what it ran, or 1 where Ray knows of none.

    What Ray says before the job starts goes to standard error. Raises `PreflightError` when the cluster is
    lost on the way; the job may well go on.
    """
    try:
        client = JobSubmissionClient(address)
        asyncio.run(_follow(client, number, address))
        return exit_code(client.get_job_info(number))
    except KeyboardInterrupt:
        where = f"{number} --address {address}"
        print(f"\nthe job goes on: ray job logs {where} --follow; ray job stop {where}", file=sys.stderr)
        raise
    except (OSError, RuntimeError, RayError) as error:
        hint = (
            f"if the cluster is there, the job goes on: ray job logs {number} --address {address} --follow; "
            "if it is lost, the same `cluster submit` goes on once it is up again"
        )
        raise PreflightError(Problem(address, f"can't be followed any more: {error}", hint)) from error


async def _follow(client: JobSubmissionClient, number: str, address: str) -> None:
    tail = asyncio.ensure_future(_tail(client, number))
    watch = asyncio.ensure_future(_watch(address))
    try:
        done, _ = await asyncio.wait((tail, watch), return_when=asyncio.FIRST_COMPLETED)
        for one in done:
            one.result()
    finally:
        for one in (tail, watch):
            one.cancel()


async def _tail(client: JobSubmissionClient, number: str) -> None:
    begun, before = False, ""
    async for text in client.tail_job_logs(number):
        if not begun:
            before += text
            head, mark, rest = before.partition(BEGINS)
            line, end, text = rest.partition("\n")
            if not mark or not end:
                continue
            print(f"{head}{mark}{line}", file=sys.stderr, flush=True)
            begun = True
        print(text, end="", flush=True)
    if not begun:
        print(before, end="", flush=True)


async def _watch(address: str) -> None:
    """Return never; raise `RuntimeError` when the dashboard has not answered for `PATIENCE` seconds."""
    loop = asyncio.get_running_loop()
    heard = loop.time()
    while loop.time() - heard < PATIENCE:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            await asyncio.to_thread(ask, address)
            heard = loop.time()
        except (OSError, http.client.HTTPException):
            pass
    raise RuntimeError(f"the dashboard has not answered for {PATIENCE:.0f} s")


def exit_code(details: Any) -> int:
    """Return the exit code of a job that has ended, from Ray's description of it."""
    if details.status == JobStatus.SUCCEEDED:
        return 0
    if details.status == JobStatus.STOPPED:
        return 130
    return int(details.driver_exit_code or 1)
