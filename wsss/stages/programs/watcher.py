"""Runs one program; when its runner stops or dies, ends the program and all that it has started.

A process of its own between a runner and the program of a `command`, started as a file: it imports nothing
of this package. It reads what to run from its standard input, one line of JSON, and ends the program when
that is closed: when the runner stops it, and when the runner dies, however it does. It is the reaper of its
descendants, so that one that left the program's process group is found too.
"""

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
POLL_SECONDS = 0.05
SECONDS_AFTER_KILL = 5.0


def prctl(option: int, value: int) -> None:
    """Call Linux's `prctl`; do nothing on other systems."""
    call = getattr(ctypes.CDLL(None), "prctl", None)
    if call is not None:
        call(option, value, 0, 0, 0)


def descendants() -> list[int]:
    """Return the processes below this one, as far as /proc tells."""
    children: dict[int, list[int]] = {}
    try:
        names = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    for name in names:
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        children.setdefault(parent, []).append(int(name))
    found, pending = [], [os.getpid()]
    while pending:
        own = children.get(pending.pop(), [])
        found += own
        pending += own
    return found


def reap(program: int) -> tuple[bool, int | None]:
    """Collect children that have ended; return whether any is left, and the program's status if it ended."""
    status = None
    while True:
        try:
            ended, code = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False, status
        if not ended:
            return True, status
        if ended == program:
            status = code


def tell(group: int, number: int) -> None:
    """Send a signal to the program's group and to whatever has left it."""
    for send, target in ((os.killpg, group), *((os.kill, one) for one in descendants())):
        try:
            send(target, number)
        except (ProcessLookupError, PermissionError):
            continue


def end_all(program: int, grace: float) -> int | None:
    """End what is left: first asked, after `grace` seconds forced. Return the program's status, if new."""
    status = None
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, SECONDS_AFTER_KILL)):
        deadline = time.monotonic() + seconds
        tell(program, number)
        while time.monotonic() < deadline:
            left, code = reap(program)
            status = code if code is not None else status
            if not left:
                return status
            if number == signal.SIGKILL:
                tell(program, number)  # one that was just being started
            time.sleep(POLL_SECONDS)
    return status


def main() -> None:
    """Run the program that standard input names, and write how it ended to the descriptor named there."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    runner = os.getppid()
    task = json.loads(sys.stdin.buffer.readline())
    prctl(PR_SET_CHILD_SUBREAPER, 1)

    def before() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def say(**facts: object) -> None:
        try:
            os.write(task["status"], json.dumps(facts).encode() + b"\n")
        except OSError:  # the runner is gone
            return

    try:
        # Kept while it runs: an object that goes takes the status of a child that has ended with it.
        child = subprocess.Popen(
            task["words"],
            cwd=task["folder"],
            env=task["environment"],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=before,
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        say(error=getattr(error, "strerror", None) or str(error))
        return
    program = child.pid
    say(process=program)
    status = None
    while status is None:
        readable, _, _ = select.select([0], [], [], POLL_SECONDS)
        if (readable and not os.read(0, 4096)) or os.getppid() != runner:
            status = end_all(program, task["grace"])
            say(stopped=True)
            return
        _, status = reap(program)
    end_all(program, task["grace"])
    if os.WIFSIGNALED(status):
        say(signal=os.WTERMSIG(status))
    else:
        say(code=os.WEXITSTATUS(status))


if __name__ == "__main__":
    main()
