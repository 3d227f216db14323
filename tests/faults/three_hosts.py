"""A laptop and three hosts on this machine, each with its own address, sshd, home folder and processes.

A host is a network namespace on a bridge, with mounts, processes and a name of its own; the hosts share one folder,
`/srv/shared`. What runs there ends when the host is removed, and `ray stop` reaches nothing else.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SSHD, KEYGEN = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin"), "ssh-keygen"
PROGRAMS = ("ip", "unshare", "nsenter", "ssh", KEYGEN, "rsync", "mount")
NET = "10.77.0"
SHARED = "/srv/shared"
HOME = "/srv/home"
SSHD_CONFIG = """\
HostKey /srv/sshd/key
AuthorizedKeysFile /srv/home/.ssh/authorized_keys
PermitRootLogin yes
StrictModes no
UsePAM no
UseDNS no
PidFile none
"""
# Mounts come first, since a host's /tmp hides what this machine has there.
START = f"""\
set -e
root=$1; shift
hostname "$1"; shift
mount --make-rprivate /
for kept in "$@"; do
  case $kept in /tmp/*|/srv/*) mkdir -p "$root$kept"; mount --rbind "$kept" "$root$kept";; esac
done
mount --bind "$root/../shared" "$root{SHARED}"
for file in passwd shadow hosts resolv.conf; do mount --bind "$root/$file" "/etc/$file"; done
mount --rbind "$root/srv" /srv
mount --rbind "$root/tmp" /tmp
mount -t tmpfs own /run
mkdir -p /run/sshd
cd /
exec {SSHD} -D -e -f /srv/sshd/config
"""


def sh(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=check)


def skip_without_hosts() -> None:
    """Skip the test where this machine can make no hosts, and say why."""
    if os.geteuid() != 0:
        pytest.skip("hosts with addresses and disks of their own need root")
    missing = [name for name in PROGRAMS if shutil.which(name) is None] + ([] if SSHD else ["sshd"])
    if missing:
        hint = "Debian's iproute2, openssh-server, openssh-client, rsync and util-linux have them"
        pytest.skip(f"no {', '.join(missing)}: {hint}")
    tried = sh("unshare", "--net", "--mount", "--pid", "--uts", "--fork", "true", check=False)
    if tried.returncode:
        pytest.skip(f"this machine makes no namespaces: {tried.stderr.strip()}")


class Host:
    """One of them. `root` holds its disk on this machine: `root/srv/home` is its home folder."""

    def __init__(self, name: str, number: int, folder: Path, mark: str) -> None:
        self.name, self.address = name, f"{NET}.{number}"
        self.root, self.space = folder / name, f"wsss{mark}{number}"
        self.log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        sh("ip", "netns", "add", self.space)
        sh("ip", "-n", self.space, "link", "set", "lo", "up")
        self._make_disk()

    def _make_disk(self) -> None:
        for below in ("srv/home/.ssh", "srv/sshd", "srv/shared", "tmp"):
            (self.root / below).mkdir(parents=True)
        (self.root / "tmp").chmod(0o1777)
        (self.root / "srv/sshd/config").write_text(SSHD_CONFIG)
        sh(KEYGEN, "-q", "-t", "ed25519", "-N", "", "-f", str(self.root / "srv/sshd/key"))
        (self.root / "passwd").write_text(
            f"root:x:0:0:root:{HOME}:/bin/bash\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
        )
        (self.root / "shadow").write_text("root:*:19000:0:99999:7:::\nsshd:!:19000::::::\n")
        (self.root / "resolv.conf").write_text("")

    def start(self, names: dict[str, str], keep: list[str]) -> None:
        """Boot the host; its sshd answers when this returns."""
        lines = [f"{address} {name}" for name, address in names.items()]
        (self.root / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
        command = ["ip", "netns", "exec", self.space,
                   "unshare", "--uts", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child",
                   "sh", "-c", START, "sh", str(self.root), self.name, *keep]  # fmt: skip
        clean = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=clean,
                                             start_new_session=True)  # fmt: skip
        until = time.monotonic() + 20
        while "listening" not in self.log.read_text():
            assert self._process.poll() is None and time.monotonic() < until, self.log.read_text()
            time.sleep(0.05)

    @property
    def init(self) -> int:
        """The host's first process, as this machine counts."""
        assert self._process is not None
        (child,) = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return int(child)

    def command(self, script: str) -> list[str]:
        """Return a command of this machine that runs a shell script on the host."""
        inside = ["nsenter", "-t", str(self.init), "-n", "-m", "-p", "-u", "env", "-i", f"HOME={HOME}", "USER=root",
                  "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG=C.UTF-8", "TERM=dumb"]  # fmt: skip
        return [*inside, "bash", "-c", f"cd {HOME} && {script}"]

    def run(self, script: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(script), capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
        )

    def processes(self, word: str = "ray") -> list[str]:
        """Return the command lines on this host that have `word` in them, without this look itself."""
        listed = self.run(
            "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline 2>/dev/null; echo; done"
        ).stdout
        return [line for line in listed.splitlines() if word in line and "/proc/[0-9]" not in line]

    def remove(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)  # --kill-child: all that runs there ends with it
            self._process.wait()
        sh("ip", "netns", "del", self.space, check=False)


class Hosts:
    """The laptop, whose namespace has the bridge, and the others; `shared` is their common folder."""

    def __init__(self, folder: Path, names: tuple[str, ...] = ("head", "one", "two")) -> None:
        mark = f"{os.getpid() % 100000}x"
        self.shared = folder / "shared"
        self.shared.mkdir(parents=True)
        self.all: list[Host] = []
        try:
            for number, name in enumerate(("laptop", *names), start=1):
                self.all.append(Host(name, number, folder, mark))
            self._wire()
            self._keys()
            known = {host.name: host.address for host in self.all}
            keep = [str(Path(__file__).parents[2]), sys.prefix, sys.base_prefix]
            for host in self.all:
                host.start(known, keep)
        except BaseException:
            self.remove()
            raise

    def __getitem__(self, name: str) -> Host:
        return next(host for host in self.all if host.name == name)

    def _wire(self) -> None:
        hub = self.all[0]
        sh("ip", "-n", hub.space, "link", "add", "lan", "type", "bridge")
        sh("ip", "-n", hub.space, "addr", "add", f"{hub.address}/24", "dev", "lan")
        sh("ip", "-n", hub.space, "link", "set", "lan", "up")
        for number, host in enumerate(self.all[1:]):
            sh(
                "ip",
                "-n",
                hub.space,
                "link",
                "add",
                f"p{number}",
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                host.space,
            )
            sh("ip", "-n", hub.space, "link", "set", f"p{number}", "master", "lan", "up")
            sh("ip", "-n", host.space, "addr", "add", f"{host.address}/24", "dev", "eth0")
            sh("ip", "-n", host.space, "link", "set", "eth0", "up")
            sh(
                "ip", "-n", host.space, "route", "add", "default", "via", hub.address
            )  # by which Ray finds its address

    def _keys(self) -> None:
        home = self.all[0].root / "srv/home/.ssh"
        sh(KEYGEN, "-q", "-t", "ed25519", "-N", "", "-f", str(home / "id_ed25519"))
        for host in self.all:
            shutil.copy(home / "id_ed25519.pub", host.root / "srv/home/.ssh/authorized_keys")

    def remove(self) -> None:
        for host in self.all:
            host.remove()
