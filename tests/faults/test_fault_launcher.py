"""`cluster.yaml` from a laptop over three hosts: up, a study, a worker and the head killed, up again, down."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import in_process
from three_hosts import NET, SHARED, Host, Hosts, skip_without_hosts

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
pytestmark = [pytest.mark.fault, pytest.mark.timeout(900)]
STUDY = """\
name: tiny
data:
  dataset: sample
  sample: {train: 8, val: 2, size: 64}
  holdout: 0.25
  select: {split: train, half: a}
  report: {split: train, half: b}
sweeps:
  - name: cam
    metric: cams/select/miou
    resources: {cpu: 1}
    search: {lr: {choice: [0.01, 0.02]}}
    searcher: grid
    stages:
      - classifier: {method: cam, backbone: efficientnet_lite0, epochs: 40, batch: 4, crop: 64, long_side: [64, 96],
                     rung: {images: 4}, lr: $lr}
      - cams: {scales: [1.0]}
"""
PIP = "  - ~/wsss-env/bin/pip install -q -c ~/wsss/constraints.txt -e ~/wsss\n"


def cluster_text(listed: int) -> str:
    """Return `cluster.yaml` for hosts that have the packages of this environment: nothing is downloaded."""
    text = (ROOT / "cluster.yaml").read_text()
    addresses = ", ".join(f"{NET}.{number}" for number in range(3, 3 + listed))
    site = sysconfig.get_path("purelib")
    paths = "$(~/wsss-env/bin/python -c 'import sysconfig; print(sysconfig.get_path(\"purelib\"))')/own.pth"
    own = (
        f"  - printf '%s\\n' $HOME/wsss {site} > {paths}\n"
        f'  - sed "1s|.*|#!$HOME/wsss-env/bin/python|" {BIN}/ray > ~/wsss-env/bin/ray && chmod +x ~/wsss-env/bin/ray\n'
    )
    small = "--object-store-memory=100000000"
    for old, new in {
        "10.0.0.10": f"{NET}.2",
        "[10.0.0.11, 10.0.0.12]": f"[{addresses}]",
        "min_workers: 2": f"min_workers: {listed}",
        "max_workers: 2": f"max_workers: {listed}",
        "ssh_user: ubuntu": "ssh_user: root",
        "/shared/": f"{SHARED}/",
        PIP: own,
        "python3 -m venv": f"{sys.executable} -m venv --without-pip",
        "ray start --head": f"ray start --num-cpus=0 {small} --head",
        "ray start --address": f"ray start --num-cpus=1 {small} --address",
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


class Laptop:
    """The machine from which the cluster is used."""

    def __init__(self, hosts: Hosts, workers: int) -> None:
        self.hosts, self.host = hosts, hosts["laptop"]
        self.folder = self.host.root / "srv/home/code"
        self.folder.mkdir()
        for name in ("wsss", "pyproject.toml", "constraints.txt", "README.md", "LICENSE", "launch.py"):
            source, target = ROOT / name, self.folder / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        (self.folder / "cluster.yaml").write_text(cluster_text(workers))
        (self.folder / "tiny.yaml").write_text(STUDY)
        (hosts.shared / "runs").mkdir()
        (hosts.shared / "data").mkdir()
        done = self("ray get-auth-token --generate && chmod 600 ~/.ray/auth_token")
        assert done.returncode == 0, done.stderr

    def __call__(self, command: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return self.host.run(f"cd code && export PATH={BIN}:$PATH && {command}", timeout)

    def wsss(self, words: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return self(f"python launch.py {words}", timeout)

    def start(self, command: str, log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as stream:
            inside = self.host.command(f"cd code && export PATH={BIN}:$PATH && exec {command}")
            return subprocess.Popen(inside, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL)

    def up(self) -> None:
        done = self("ray up -y cluster.yaml 2>&1")
        assert done.returncode == 0, done.stdout[-3000:]
        workers = [host for host in self.hosts.all if host.name not in ("laptop", "head")]
        wait_for(lambda: all(host.processes("raylet/raylet") for host in workers), 150)

    def tunnel(self) -> subprocess.Popen[bytes]:
        words = f"ssh -N -o StrictHostKeyChecking=no -L 8265:localhost:8265 root@{NET}.2"
        found = self.start(words, self.host.log.with_name("tunnel"))
        wait_for(lambda: self("exec 3<>/dev/tcp/localhost/8265").returncode == 0, 30)
        return found

    def down(self) -> None:
        done = self("ray down -y cluster.yaml 2>&1")
        assert done.returncode == 0 and "No nodes remaining" in done.stdout, done.stdout[-3000:]
        wait_for(lambda: not any(host.processes() for host in self.hosts.all[1:]), 20)


def wait_for(seen: Callable[[], bool], seconds: float, told: Callable[[], str] = str) -> None:
    until = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < until, told()
        time.sleep(0.5)


def kill_everything(host: Host) -> None:
    """Kill all that runs on a host but its sshd, at once."""
    host.run("kill -KILL -1")


@pytest.fixture
def laptop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Laptop]:
    skip_without_hosts()
    workers = int(getattr(request, "param", 2))
    hosts = Hosts(tmp_path / "hosts", ("head", *("one", "two", "three")[:workers]))
    try:
        yield Laptop(hosts, workers)
    finally:
        hosts.remove()


@pytest.mark.parametrize("laptop", [1, 3], indirect=True)
def test_every_listed_machine_joins_and_none_is_left_running(laptop: Laptop) -> None:
    """The study below has two workers. With three, a fourth is listed that isn't there, and is named."""
    workers = len(laptop.hosts.all) - 2
    if workers == 3:
        (laptop.folder / "cluster.yaml").write_text(cluster_text(workers + 1))
    laptop.up()
    if workers == 3:
        laptop.tunnel()
        asked = f"cluster submit tiny.yaml --storage {SHARED}/runs --verb check"
        wait_for(lambda: "4 of 5 that" in laptop.wsss(asked).stdout, 60)
        done = laptop.wsss(asked)
        row = next(line for line in done.stdout.splitlines() if "4 of 5 that the cluster file lists" in line)
        assert done.returncode == 0 and row.split()[:2] == ["note", "nodes"], done.stdout
        assert f"{NET}.6 has not joined" in " ".join(done.stdout.split()), done.stdout
    laptop.down()


def test_a_study_outlives_a_killed_worker_and_a_killed_head(
    laptop: Laptop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = f"cluster submit tiny.yaml --storage {SHARED}/runs"
    away = laptop.wsss(submit)
    assert away.returncode == 3 and away.stderr.startswith(
        "error: http://localhost:8265: did not take the job"
    )
    laptop.up()
    laptop.tunnel()
    # What is wrong is said in one line, soon, and as the environment's fault.
    for command, told in {
        f"env RAY_AUTH_TOKEN={'ab' * 32} python launch.py {submit}": "refuses the token",
        f"env RAY_AUTH_TOKEN_PATH=/nowhere RAY_AUTH_MODE=token python launch.py {submit}": "no token was found",
        f"python launch.py run tiny.yaml --address {NET}.2:6379": "this machine is no node of that cluster",
        f"env RAY_AUTH_TOKEN={'ab' * 32} python launch.py run tiny.yaml --address {NET}.2:6379": "refuses the token",
    }.items():
        began = time.monotonic()
        done = laptop(command)
        assert done.returncode == 3 and told in done.stderr, (command, done.stderr)
        assert len(done.stderr.strip().splitlines()) == 1 and time.monotonic() - began < 30, (
            done.stderr
        )  # most of it imports, on a busy machine
    checked = laptop.wsss(f"{submit} --verb check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "3 with 2 CPU" in checked.stdout, checked.stdout

    log = tmp_path / "first.log"
    first = laptop.start(f"python launch.py {submit} --follow", log)
    one, two, head = (laptop.hosts[name] for name in ("one", "two", "head"))
    wait_for(lambda: bool(one.processes("ray::ChainTrainable")), 120, log.read_text)
    time.sleep(5)
    kill_everything(one)
    wait_for(lambda: bool(two.processes("ray::ChainTrainable")), 120, log.read_text)
    time.sleep(5)
    assert first.poll() is None, log.read_text()
    kill_everything(head)
    assert first.wait(60) == 3, log.read_text()
    assert "the same `cluster submit` goes on" in log.read_text()
    wait_for(lambda: not two.processes(), 30, lambda: str(two.processes()))

    laptop.up()
    laptop.tunnel()
    done = laptop.wsss(f"{submit} --verb run", timeout=400)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    logs = list((laptop.hosts.shared / "runs/studies/tiny/logs").glob("raysubmit_*.log"))
    assert len(logs) == 2, "the job of the lost head and that of the new one"
    text = max(logs, key=lambda path: path.stat().st_mtime).read_text()
    assert "mlflow.store" not in text and "alembic" not in text
    table = laptop.wsss(f"{submit} --verb compare")
    assert table.returncode == 0 and "95 %" in table.stdout, table.stdout + table.stderr
    refused = laptop.wsss(f"{submit} --verb check -s sweeps.cam.resources.gpu=1 --name other")
    assert refused.returncode == 3 and "placement" in refused.stdout, refused.stdout + refused.stderr
    laptop.down()

    import pandas  # noqa: F401 - else MLflow's thread and the report's may import it at the same instant

    # The same storage, without a cluster; and the same study in another storage, without one from the start.
    study = tmp_path / "tiny.yaml"
    study.write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    moved = in_process("resume", "tiny", "--local", "--storage", laptop.hosts.shared / "runs")
    assert moved.returncode == 0, moved.stderr
    assert in_process("run", study, "--local", "--storage", tmp_path / "own").returncode == 0
    tables = [
        json.loads(in_process("compare", "tiny", "--storage", place, "--format", "json").stdout)
        for place in (laptop.hosts.shared / "runs", tmp_path / "own")
    ]
    scores = [[(row["arm"], row["cells"]) for row in table["rows"]] for table in tables]
    assert scores[0] == scores[1]


SRUN = """\
#!/bin/bash
# Starts the command on every node with this environment, and ends when the first has.
shift
for node in two one head; do
  ssh -o StrictHostKeyChecking=no root@$node "$(export -p); cd $PWD; $(printf '%q ' "$@")" &
done
wait $!
"""


def test_a_batch_job_over_three_hosts_runs_the_study(laptop: Laptop) -> None:
    """What `cluster slurm` prints, with an `srun` that is made of ssh."""
    hosts, head = laptop.hosts, laptop.hosts["head"]
    code = f"{SHARED}/code"
    shutil.copytree(laptop.folder, hosts.shared / "code")
    asked = f"cluster slurm tiny.yaml --nodes 3 --gpus-per-node 0 --cpus-per-node 1 --storage {SHARED}/runs"
    printed = hosts["laptop"].run(f"cd {code} && {BIN}/python launch.py {asked}")
    assert printed.returncode == 0, printed.stderr
    (hosts.shared / "job.sh").write_text(printed.stdout)
    home = laptop.host.root / "srv/home"
    for host in hosts.all[1:]:
        shutil.copytree(home / ".ray", host.root / "srv/home/.ray")
    shutil.copy(home / ".ssh/id_ed25519", head.root / "srv/home/.ssh")
    programs = hosts.shared / "bin"
    programs.mkdir()
    for name, text in {"srun": SRUN, "scontrol": "#!/bin/sh\nprintf '%s\\n' head one two\n"}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    variables = f"SLURM_JOB_ID=7 SLURM_JOB_NODELIST=all PYTHONPATH={code} PATH={SHARED}/bin:$PATH"
    done = head.run(f"{variables} bash {SHARED}/job.sh", timeout=400)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "3 with 3 CPU" in done.stdout, done.stdout[-3000:]
    assert (hosts.shared / "runs/studies/tiny").is_dir()
