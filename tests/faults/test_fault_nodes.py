"""Nodes that die, freeze, or are cut off from the network: trials go on elsewhere, with the same results."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from command_line import in_process

Calm = Callable[[Path], Path]
pytestmark = pytest.mark.timeout(600)
LRS = (0.01, 0.05)


@pytest.fixture
def study(faulty: Any, tmp_path: Path) -> Path:
    path = tmp_path / "toy.yaml"
    path.write_text(faulty.study_text(LRS, epochs=8))
    return path


def assert_as_calm(faulty: Any, storage: Path, calm: Path) -> None:
    assert faulty.records(storage) == faulty.records(calm)
    assert faulty.contents(storage) == faulty.contents(calm)
    assert faulty.tracked(storage) == faulty.tracked(calm), "no run is doubled, none is left open"


def epochs_of(faulty: Any, storage: Path, lr: float) -> list[tuple[int, int]]:
    """Return (epoch, process) of every epoch that was begun for a learning rate."""
    return [(epoch, pid) for one, epoch, pid in faulty.made(storage) if one == lr]


def raylet_of(worker: int) -> psutil.Process:
    found = psutil.Process(worker).parent()
    assert found is not None and "raylet" in found.name()
    return found


def until_mid_training(
    faulty: Any, storage: Path, drive: Any, *words: Any
) -> tuple[Any, int, psutil.Process]:
    """Start a study on a cluster; in the fourth epoch of its first trial, return the driver, that trial's
    process and its raylet."""
    driver = drive("run", *words, "--storage", storage)
    driver.wait_for(lambda: 4 in [epoch for epoch, _ in epochs_of(faulty, storage, LRS[0])])
    victim = epochs_of(faulty, storage, LRS[0])[0][1]
    return driver, victim, raylet_of(victim)


def test_a_node_that_dies_in_mid_training_costs_its_trial_one_epoch(
    faulty: Any, storage: Path, study: Path, calm: Calm, nodes: Any, drive: Any
) -> None:
    expected = calm(study)
    faulty.slow(storage, 0.3)
    driver, victim, raylet = until_mid_training(faulty, storage, drive, study, "--address", nodes.address)
    for process in [raylet, *raylet.children(recursive=True)]:
        process.kill()
    assert driver.wait() == 0, driver.text[-3000:]
    again = [epoch for epoch, pid in epochs_of(faulty, storage, LRS[0]) if pid != victim]
    assert again[0] >= 4 and again[-1] == 8, "no epoch that had been saved was trained again"
    assert_as_calm(faulty, storage, expected)


@pytest.mark.fault
def test_a_raylet_that_is_killed_alone_moves_its_trial_to_another_node(
    faulty: Any, storage: Path, study: Path, calm: Calm, nodes: Any, drive: Any
) -> None:
    """Its workers are left without it; what they hold must not keep the trial from going on elsewhere."""
    expected = calm(study)
    faulty.slow(storage, 0.5)
    driver, victim, raylet = until_mid_training(faulty, storage, drive, study, "--address", nodes.address)
    left = raylet.children(recursive=True)
    raylet.kill()
    try:
        assert driver.wait(300) == 0, driver.text[-3000:]
    finally:
        _, alive = psutil.wait_procs(left, timeout=10)
        for process in alive:
            process.kill()
    assert victim not in [process.pid for process in alive], "the trial's process ended by itself"
    again = [epoch for epoch, pid in epochs_of(faulty, storage, LRS[0]) if pid != victim]
    assert again[0] >= 4 and again[-1] == 8, "no epoch that had been saved was trained again"
    assert_as_calm(faulty, storage, expected)


@pytest.mark.fault
def test_a_lost_head_is_one_error_and_the_study_resumes(
    faulty: Any, storage: Path, study: Path, calm: Calm, drive: Any
) -> None:
    expected = calm(study)
    faulty.slow(storage, 1.0)
    driver = drive("run", study, "--storage", storage)
    driver.wait_for(lambda: "classifier  3/8" in driver.text)
    head = [
        child
        for child in psutil.Process(driver.process.pid).children(recursive=True)
        if "gcs_server" in child.name()
    ]
    assert len(head) == 1
    head[0].kill()
    began = time.monotonic()
    assert driver.wait(180) == 3, driver.text[-3000:]
    assert time.monotonic() - began < 60
    told = [line for line in driver.text.splitlines() if line.startswith("error: ")]
    assert len(told) == 1 and "the head of the Ray cluster" in told[0], driver.text[-3000:]
    assert "`resume toy`" in told[0]
    faulty.slow(storage, 0)
    done = in_process("resume", "toy", "--storage", storage, "--local")
    assert done.returncode == 0, done.stderr
    first = [epoch for epoch, _ in epochs_of(faulty, storage, LRS[0])]
    assert first.count(1) == first.count(2) == 1, "went on from a checkpoint"
    assert_as_calm(faulty, storage, expected)


@pytest.mark.fault
def test_a_node_that_freezes_for_a_minute_does_no_harm_when_it_wakes(
    faulty: Any, storage: Path, study: Path, calm: Calm, nodes: Any, drive: Any
) -> None:
    expected = calm(study)
    faulty.slow(storage, 0.3)
    driver, _, raylet = until_mid_training(faulty, storage, drive, study, "--address", nodes.address)
    frozen = [raylet, *raylet.children(recursive=True)]
    for process in frozen:
        process.suspend()
    time.sleep(60)
    for process in frozen:
        if process.is_running():
            process.resume()
    try:
        assert driver.wait(300) == 0, driver.text[-3000:]
    finally:
        for process in frozen:
            if process.is_running():
                process.kill()
    assert_as_calm(faulty, storage, expected)


def sh(command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command.split(), capture_output=True, text=True, check=check)


class Host:
    """A host of its own name and address, joined to this machine by a cable that can be unplugged."""

    def __init__(self) -> None:
        mark = f"{os.getpid() % 10000}"
        self.space, self.here, self.there = f"wsss{mark}", f"wsssh{mark}", f"wssst{mark}"
        net = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"
        self.head, self.address = f"{net}.1", f"{net}.2"
        sh(f"ip netns add {self.space}")
        sh(f"ip link add {self.here} type veth peer name {self.there} netns {self.space}")
        sh(f"ip addr add {self.head}/24 dev {self.here}")
        sh(f"ip link set {self.here} up")
        sh(f"ip -n {self.space} addr add {self.address}/24 dev {self.there}")
        sh(f"ip -n {self.space} link set lo up")
        self.plug()

    def plug(self) -> None:
        sh(f"ip -n {self.space} link set {self.there} up")

    def unplug(self) -> None:
        sh(f"ip -n {self.space} link set {self.there} down")

    def inside(self, *words: str) -> list[str]:
        """Return a command that runs on the host."""
        named = f'hostname {self.space} && exec "$@"'
        return ["ip", "netns", "exec", self.space, "unshare", "--uts", "sh", "-c", named, "sh", *words]

    def remove(self) -> None:
        sh(f"ip link del {self.here}", check=False)
        sh(f"ip netns del {self.space}", check=False)


def host_or_skip() -> Host:
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("hosts with addresses of their own need root, iproute2 and unshare")
    try:
        return Host()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this machine makes no network namespaces: {error.stderr.strip()}")


@pytest.fixture
def hosts() -> Iterator[tuple[Host, str]]:
    """A head without CPUs and a node of one CPU on this machine, a node of one CPU on another host."""
    host = host_or_skip()
    place = Path(tempfile.mkdtemp(prefix="wf", dir="/tmp"))
    with socket.socket() as free:
        free.bind((host.head, 0))
        port = free.getsockname()[1]
    address = f"{host.head}:{port}"
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--object-store-memory=80000000"]
    log = (place / "log").open("wb")
    started: list[tuple[list[str], subprocess.Popen[bytes]]] = []

    def start(command: list[str]) -> None:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        started.append((command, process))

    def all_there() -> bool:
        for number, (command, process) in enumerate(started[1:], start=1):
            if process.poll() is not None:  # on a busy machine a node gives up joining after seconds
                del started[number]
                start(command)
        return _alive(address) == 3

    try:
        start([*ray, "--head", f"--node-ip-address={host.head}", f"--port={port}", "--num-cpus=0",
               f"--temp-dir={place}", "--include-dashboard=false"])  # fmt: skip
        _wait(lambda: _listens(host.head, port), place)
        start([*ray, f"--address={address}", f"--node-ip-address={host.head}", "--num-cpus=1"])
        start(host.inside(*ray, f"--address={address}", f"--node-ip-address={host.address}", "--num-cpus=1"))
        _wait(all_there, place)
        yield host, address
    finally:
        for _, process in started:
            _end(process)
        log.close()
        host.remove()
        shutil.rmtree(place, ignore_errors=True)


def _wait(seen: Callable[[], bool], place: Path, timeout: float = 120) -> None:
    until = time.monotonic() + timeout
    while not seen():
        assert time.monotonic() < until, (place / "log").read_text()[-3000:]
        time.sleep(0.5)


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def _alive(address: str) -> int:
    from ray._raylet import GcsClient

    return sum(info.state == 0 for info in GcsClient(address=address).get_all_node_info().values())


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what was started there, and nothing else."""
    try:
        found = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        found = []
    for one in found:
        try:
            one.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    process.wait()


def on_host(pid: int, host: Host) -> bool:
    """Whether a process runs on the other host."""
    return os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat(f"/run/netns/{host.space}").st_ino


def start_and_cut(
    faulty: Any,
    storage: Path,
    study: Path,
    drive: Any,
    hosts: tuple[Host, str],
    moment: Callable[[float], bool],
) -> tuple[Any, float, int]:
    """Start a study and unplug the host when `moment` of its trial's learning rate has come."""
    host, address = hosts
    driver = drive("run", study, "--storage", storage, "--address", address)

    def there() -> list[tuple[float, int]]:
        return [
            (lr, pid) for lr, _, pid in faulty.made(storage) if psutil.pid_exists(pid) and on_host(pid, host)
        ]

    driver.wait_for(lambda: bool(there()))
    lr, pid = there()[0]
    driver.wait_for(lambda: moment(lr))
    host.unplug()
    return driver, lr, pid


@pytest.mark.fault
def test_a_host_cut_off_for_a_minute_loses_its_trial_to_another(
    faulty: Any, storage: Path, study: Path, calm: Calm, drive: Any, hosts: tuple[Host, str]
) -> None:
    expected = calm(study)
    faulty.slow(storage, 0.5)
    driver, lr, victim = start_and_cut(
        faulty, storage, study, drive, hosts, lambda lr: len(epochs_of(faulty, storage, lr)) >= 4
    )
    time.sleep(60)
    hosts[0].plug()
    assert driver.wait(300) == 0, driver.text[-3000:]
    again = [epoch for epoch, pid in epochs_of(faulty, storage, lr) if pid != victim]
    assert again[0] >= 4 and again[-1] == 8, "no epoch that had been saved was trained again"
    assert_as_calm(faulty, storage, expected)


@pytest.mark.fault
def test_what_a_host_commits_while_it_is_cut_off_does_no_harm(
    faulty: Any, storage: Path, study: Path, calm: Calm, drive: Any, hosts: tuple[Host, str]
) -> None:
    expected = calm(study)
    faulty.slow(storage, 0.2)
    faulty.slow(storage, 20, "finish-seconds")
    driver, lr, victim = start_and_cut(
        faulty, storage, study, drive, hosts,
        lambda lr: len(epochs_of(faulty, storage, lr)) == 8 and not time.sleep(2),
    )  # fmt: skip
    (storage / "faults/finish-seconds").write_text("0")
    time.sleep(60)
    hosts[0].plug()
    assert driver.wait(300) == 0, driver.text[-3000:]
    finished = [pid for one, _, pid in faulty.made(storage, "finished") if one == lr]
    assert victim in finished, "it was finished on the host that was cut off"
    assert_as_calm(faulty, storage, expected)


@pytest.mark.fault
def test_a_storage_that_is_each_hosts_own_disk_is_refused(
    faulty: Any, study: Path, cluster: Any, tmp_path: Path
) -> None:
    """A host whose disk is mounted where the driver has its storage: one path, two folders."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("hosts with disks of their own need root and unshare")
    storage = tmp_path / "runs"
    storage.mkdir()
    mount = f'mount -t tmpfs -o size=8m own {storage} && hostname other && exec "$@"'
    space = ["unshare", "--uts", "--mount", "sh", "-c", mount, "sh"]
    tried = subprocess.run([*space, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"this machine makes no mounts of its own: {tried.stderr.strip()}")
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--object-store-memory=80000000"]
    with (tmp_path / "log").open("wb") as log:
        node = subprocess.Popen(
            [*space, *ray, f"--address={cluster.address}", "--num-cpus=1"],
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        _wait(lambda: _alive(cluster.address) == 2, tmp_path)
        done = in_process("cluster", "check", study, "--storage", storage, "--address", cluster.address)
    finally:
        _end(node)
    assert done.returncode == 3, done.stdout + done.stderr
    told = " ".join(done.stdout.split())
    assert "see what the driver wrote" in told and "--storage" in told
