"""What is looked at on a cluster of two nodes before a study starts, and what is refused there."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command_line import in_process
from s3_server import KEYS, s3_address
from tiny_devkit import write_tiny_voc

from wsss.config import DataSpec, Resources, SampleSpec, SplitSpec
from wsss.data.readers.voc import VOC_CLASSES
from wsss.data.view import DataView, open_data
from wsss.errors import PreflightError
from wsss.pipeline.check import Check, refuse_bad
from wsss.pipeline.forecasts.preflight import Rough, disk_check, gibibytes, storage_checks
from wsss.tracking.location import tracking_uri
from wsss.tracking.reach import reach

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two nodes of two CPUs each; their processes keep the folder in which they were started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "1")
        import wsss.tuning.environment  # noqa: F401 - first: Ray reads it when imported

        import ray  # isort: skip
        from ray.cluster_utils import Cluster

        home = os.environ["HOME"]
        patch.chdir(tmp_path_factory.mktemp("nodes"))
        patch.setenv("HOME", str(Path.cwd()))
        found = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        found.add_node(num_cpus=2)
        found.home = Path.cwd()
        patch.setenv("HOME", home)
        ray.init(address=found.address, log_to_driver=False)
        yield found
        ray.shutdown()
        found.shutdown()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> DataView:
    folder = tmp_path_factory.mktemp("photos")
    spec = DataSpec(
        dataset="voc",
        root=write_tiny_voc(folder / "voc"),
        holdout=0,
        select=SplitSpec(split="train"),
        report=SplitSpec(split="val"),
    )
    return open_data(spec, storage=folder / "storage")


def rows(checks: list[Check]) -> list[tuple[str, str]]:
    return [(check.what, check.state) for check in checks]


def every_node(*wanted: Any) -> list[Check]:
    """Return the checks of every node of the cluster that runs; `wanted` are the words of `Wanted`."""
    from wsss.tuning.nodes.preflight import Wanted, alive_nodes, node_checks

    return node_checks(alive_nodes(), Wanted(*wanted))


def test_everything_is_well_on_two_nodes_that_share_all(
    cluster: Any, photos: DataView, tmp_path: Path
) -> None:
    from wsss.tuning.nodes.preflight import Wanted, cluster_checks

    checks = cluster_checks([Resources(cpu=1), Resources(cpu=2)], Wanted(tmp_path, photos))
    found = {check.what: check for check in checks}
    assert rows(checks) == [
        (what, "ok") for what in ("nodes", "placement", "placement", "versions", "storage", "data")
    ]
    assert found["nodes"].found == "2 with 4 CPU and 0 GPU in all"
    assert found["placement"].found == "a trial asks for 2 CPU and 0 GPU: 2 at a time"
    assert found["versions"].found.endswith("everywhere")
    files = 2 + 6 + 6 + 6  # lists, photos, annotations, masks
    assert found["data"].found == f"every node has the same {files} files looked at"
    assert not list(tmp_path.iterdir()), "no marker is left"


def test_a_storage_of_the_same_name_on_another_disk_is_noticed(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checks = every_node(Path("/proc/self/cwd/runs"))  # another folder in each process
    bad = [check for check in checks if check.state == "bad"]
    assert [check.what for check in bad] == ["storage", "storage"], "each node is named"
    assert all("doesn't see what the driver wrote to /proc/self/cwd/runs" in check.found for check in bad)
    assert all("--storage" in check.hint for check in bad)


def test_a_foreign_program_is_looked_for_on_every_node(cluster: Any, tmp_path: Path) -> None:
    from wsss.stages.programs.readiness import Needs
    from wsss.tuning.nodes.preflight import Wanted, alive_nodes, node_checks

    for folder, content in ((tmp_path / "code", "here"), (cluster.home / "code", "there")):
        folder.mkdir()
        (folder / "train.py").write_text(content)
    nodes = alive_nodes()

    def looked_at(need: Needs) -> list[Check]:
        checks = node_checks(nodes, Wanted(tmp_path, programs={"cam, theirs": need}, start=True))
        return [check for check in checks if check.what == "program"]

    need = Needs(str(tmp_path / "code"), words=("python", "train.py"))
    (row,) = looked_at(need)
    assert row.state == "ok" and row.found.endswith("everywhere") and ", Python 3." in row.found
    bad = looked_at(dataclasses.replace(need, python="/nowhere/python"))
    assert [check.state for check in bad] == ["bad", "bad"], "each node is named"
    assert all("/nowhere/python can't be run on" in check.found for check in bad)
    with contextlib.chdir(tmp_path):  # the nodes' processes stand in another folder
        bad = looked_at(Needs("/proc/self/cwd/code"))
    assert all("the driver's files" in check.found for check in bad) and len(bad) == 2


def test_photos_that_differ_or_lack_are_named(
    cluster: Any, photos: DataView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsss.tuning.nodes import preflight

    monkeypatch.chdir(photos.dataset.root)
    here = Path("/proc/self/cwd/JPEGImages/x_4.jpg")  # only the driver stands there
    changing = Path("/proc/self/stat")
    monkeypatch.setattr(preflight, "sampled_files", lambda data: [here, changing])
    bad = [c for c in every_node(tmp_path, photos) if c.what == "data"]
    assert len(bad) == 2 and all(check.state == "bad" for check in bad)
    assert all(f"lacks {here}" in check.found for check in bad)
    monkeypatch.setattr(preflight, "sampled_files", lambda data: [changing])
    bad = [c for c in every_node(tmp_path, photos) if c.what == "data"]
    assert all(f"has another {changing}" in check.found for check in bad) and len(bad) == 2


def test_each_node_draws_the_sample_of_a_study_in_an_object_storage(
    cluster: Any, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsss.store.storage import open_storage
    from wsss.tuning.nodes import looking

    uri = s3_address(s3)
    spec = DataSpec(
        dataset="sample",
        sample=SampleSpec(train=4, val=1, size=64),
        holdout=0,
        select=SplitSpec(split="train"),
        report=SplitSpec(split="val"),
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WSSS_CACHE", "/proc/self/cwd/driver")  # the driver's own disk: no node sees it
    data = open_data(spec, storage=open_storage(uri).local)
    look, folder = looking.look_from_node, tmp_path

    def elsewhere(*words: Any) -> dict[str, Any]:
        os.environ.update(KEYS, WSSS_CACHE=f"{folder}/node-{os.getpid()}")
        return look(*words)

    monkeypatch.setattr(looking, "look_from_node", elsewhere)
    checks = every_node(uri, data, spec)
    assert [check for check in checks if check.state == "bad"] == []
    assert "data" in [check.what for check in checks]
    assert len(list(tmp_path.glob("node-*/*/data/*/JPEGImages/*.jpg"))) == 2 * 5


def a_folder(place: Path) -> DataView:
    """Three photos with a table, masks, classes and a list."""
    voc = write_tiny_voc(place / "voc")
    root = place / "mine"
    (root / "masks").mkdir(parents=True)
    for id, letter in (("2007_000001", "a"), ("2007_000002", "b"), ("2007_000003", "c")):
        shutil.copy(voc / f"JPEGImages/{id}.jpg", root / f"{letter}.jpg")
        shutil.copy(voc / f"SegmentationClass/{id}.png", root / f"masks/{letter}.png")
    (root / "labels.csv").write_text("image,labels\na.jpg,cat\nb.jpg,dog\nc.jpg,cat;dog\n")
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in VOC_CLASSES))
    (root / "some.txt").write_text("a.jpg\nb.jpg\n")
    every = SplitSpec(split="masked")
    spec = DataSpec(
        dataset="folder", root=root, holdout=0, select=every, report=every, allow=("select_on_report",)
    )
    return open_data(spec, storage=place / "storage", verify=False)


@pytest.mark.parametrize("which", ["voc", "folder"])
def test_whatever_of_its_data_a_node_has_older_is_noticed(
    photos: DataView, tmp_path: Path, which: str
) -> None:
    from wsss.tuning.nodes.looking import describe_node
    from wsss.tuning.nodes.preflight import sampled_files

    data = photos if which == "voc" else a_folder(tmp_path)
    parts = {
        "voc": ["ImageSets/Segmentation/val.txt", "Annotations/x_4.xml", "SegmentationClass/2007_000005.png"],
        "folder": ["labels.csv", "masks/b.png", "classes.txt", "some.txt", "c.jpg"],
    }[which]
    files = sampled_files(data)
    assert len(files) == len(set(files)) and all(file.is_file() for file in files)
    before = describe_node(files)["files"]
    for part in parts:
        path = data.dataset.root / part
        content = path.read_bytes()
        path.write_bytes(content + b"\n")
        try:
            now = describe_node(files)["files"]
        finally:
            path.write_bytes(content)
        assert [file for file, old, new in zip(files, before, now, strict=True) if old != new] == [path]


def test_only_so_many_images_are_looked_at(tmp_path: Path) -> None:
    from wsss.tuning.nodes.preflight import sampled_files

    spec = DataSpec(
        dataset="sample",
        sample=SampleSpec(train=60, val=4, size=64),
        select=SplitSpec(split="train"),
        report=SplitSpec(split="val"),
    )
    files = sampled_files(open_data(spec, storage=tmp_path, verify=False), 10)
    kinds = [file.parent.name for file in files]
    assert kinds.count("Annotations") <= 10 and kinds.count("SegmentationClass") <= 10
    assert 10 <= kinds.count("JPEGImages") <= 20 and len(files) == len(set(files))


def test_other_code_on_a_node_is_refused(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsss.tuning.nodes import looking, preflight

    own = looking.describe_node([])
    monkeypatch.setattr(preflight, "describe_node", lambda files: {**own, "code": "0" * 12, "ray": "1.0"})
    checks = every_node(tmp_path)
    bad = [check for check in checks if check.state == "bad"]
    assert sorted(check.what for check in bad) == ["Ray", "Ray", "wsss's code", "wsss's code"]
    assert all(own["code"] in check.found for check in bad if check.what == "wsss's code")


def test_machines_that_the_cluster_file_lists_and_that_are_not_there_are_named() -> None:
    from wsss.tuning.nodes.placement import nodes_check

    nodes = [{"NodeManagerAddress": f"10.0.0.{n}", "Resources": {"CPU": 4.0}} for n in (10, 11)]
    assert nodes_check(nodes, ["10.0.0.10", "10.0.0.11"]).state == "ok"
    row = nodes_check(nodes, ["10.0.0.10", "10.0.0.11", "10.0.0.12"])
    assert row.state == "note" and row.found.startswith("2 of 3 that the cluster file lists")
    assert "10.0.0.12 has not joined" in row.found


def test_the_machines_are_read_from_what_ray_up_leaves(cluster: Any) -> None:
    from wsss.tuning.nodes.placement import launched
    from wsss.tuning.nodes.preflight import alive_nodes

    own = alive_nodes()[0]["NodeManagerAddress"]
    file = cluster.home / "ray_bootstrap_config.yaml"
    provider = "provider: {{type: local, head_ip: {head}, worker_ips: [192.0.2.7, 192.0.2.8]}}"
    try:
        file.write_text(provider.format(head=own))
        assert launched(alive_nodes()).listed == (own, "192.0.2.7", "192.0.2.8")
        file.write_text(provider.format(head="192.0.2.1"))
        assert launched(alive_nodes()).listed == (), "what another cluster left"
    finally:
        file.unlink()


AUTOSCALER = """\
cluster_name: lab
max_workers: 4
head_node_type: head
available_node_types:
  head: {resources: {CPU: 2}, node_config: {}}
  gpus: {resources: {CPU: 16, GPU: 4}, min_workers: 0, max_workers: 3, node_config: {}}
  any: {resources: {CPU: 64}, node_config: {}}
  off: {resources: {CPU: 8, GPU: 8}, max_workers: 0, node_config: {}}
  unknown: {resources: {}, max_workers: 2, node_config: {}}
"""


def test_a_group_of_nodes_that_stands_at_none_is_one_to_come(cluster: Any, tmp_path: Path) -> None:
    """The autoscaler's file lies in the home of the head node alone, not in the driver's."""
    from wsss.tuning.nodes.placement import launched
    from wsss.tuning.nodes.preflight import Wanted, alive_nodes, cluster_checks

    file = cluster.home / "ray_bootstrap_config.yaml"
    wanted = [Resources(cpu=8, gpu=2), Resources(cpu=4, gpu=8)]
    assert launched(alive_nodes()).startable == ()
    try:
        file.write_text(AUTOSCALER)
        kinds = [{"CPU": 16.0, "GPU": 4.0}, {"CPU": 64.0}, {}]
        assert list(launched(alive_nodes()).startable) == kinds
        rows = [check for check in cluster_checks(wanted, Wanted(tmp_path)) if check.what == "placement"]
        assert [row.state for row in rows] == ["note", "bad"]
        assert rows[0].found.endswith("no node has them, one will be started")
        assert rows[1].found.endswith("nor has any that could be started")
        for broken in (
            "[1, 2]",
            "{",
            "available_node_types: {a: 3}",
            "available_node_types: 7",
            "!!python/x",
        ):
            file.write_text(broken)
            assert launched(alive_nodes()).startable == (), broken
    finally:
        file.unlink()


def test_a_study_that_asks_for_a_gpu_is_refused_at_once(
    cluster: Any, tiny_study: Path, tmp_path: Path
) -> None:
    words = ("--storage", tmp_path / "runs", "-s", "sweeps.*.resources.gpu=1")
    done = in_process("cluster", "check", tiny_study, *words, "--json")
    assert done.returncode == 3, done.stderr
    found = {check["what"]: check for check in json.loads(done.stdout)}
    assert found["placement"]["state"] == "bad"
    assert (
        "a trial asks for 1 CPU and 1 GPU, but the nodes have: 2 CPU, 0 GPU; 2 CPU, 0 GPU"
        in found["placement"]["found"]
    )
    assert found["tracking"]["state"] == "ok" and found["disk"]["state"] in ("note", "bad")


NODES = [{"Resources": {"CPU": 8.0, "GPU": 2.0}}, {"Resources": {"CPU": 16.0}}]


@pytest.mark.parametrize(
    ("wanted", "state", "found"),
    [
        (Resources(cpu=4, gpu=1), "ok", "2 at a time"),
        (Resources(cpu=2, gpu=0.5), "ok", "4 at a time"),
        (Resources(cpu=1, gpu=0.333), "ok", "6 at a time"),
        (Resources(cpu=8, gpu=1), "ok", "1 at a time"),
        (Resources(cpu=16), "ok", "1 at a time"),
        (Resources(cpu=16, gpu=1), "note", "no node has them, one will be started"),
        (Resources(cpu=4, gpu=16), "bad", "but the nodes have: 8 CPU, 2 GPU; 16 CPU, 0 GPU, nor has any"),
    ],
)  # fmt: skip
def test_places_are_counted_on_nodes_there_are_and_nodes_to_come(
    wanted: Resources, state: str, found: str
) -> None:
    from wsss.tuning.nodes.placement import placement_checks

    checks = placement_checks([wanted, wanted], NODES, [{"CPU": 64.0, "GPU": 8.0}])
    assert checks[0].state == state and found in checks[0].found
    sharing = [check.found for check in checks if check.what == "GPU sharing"]
    assert len(checks) == 1 + len(sharing)
    if wanted.gpu == 0.5:
        assert sharing == [
            "with gpu: 0.5, 2 trials share a GPU, each may take 50% of its memory, "
            "less half a GiB for CUDA itself"
        ]


def test_trials_that_leave_no_cpu_to_score_beside_their_gpus_are_a_note() -> None:
    from wsss.tuning.nodes.placement import placement_checks

    nodes = [{"Resources": {"CPU": 4.0, "GPU": 1.0}}]
    full, spare = (placement_checks([Resources(cpu=cpu, gpu=1)], nodes)[0] for cpu in (4, 3))
    assert full.state == "note" and "1 at a time, which leaves no CPU" in full.found
    assert spare.state == "ok"
    assert placement_checks([Resources(cpu=4, gpu=1)], [*nodes, {"Resources": {"CPU": 2.0}}])[0].state == "ok"


def test_disk_is_compared_with_the_estimate() -> None:
    gib = 1024**3
    assert disk_check(100 * gib, 10 * gib).state == "ok"
    assert disk_check(5 * gib, 10 * gib) == Check(
        "disk", "bad", "5.0 GiB are free, but the study is estimated to need 10.0 GiB",
        "give --storage FOLDER, or `storage prune`",
    )  # fmt: skip
    assert "at least 10.0 GiB" in disk_check(5 * gib, 10 * gib, complete=False).found
    assert disk_check(100 * gib, None).state == "note"
    assert disk_check(gib // 2, None).state == "bad"
    small, large = Rough(2 * gib), Rough(9 * gib, whole=False)
    assert disk_check(5 * gib, None, rough=small) == Check(
        "disk", "ok", "5.0 GiB are free, the study needs roughly 2.0 GiB"
    )
    found = disk_check(5 * gib, gib, complete=False, rough=large)
    assert (found.state, found.found.partition(", but ")[2]) == (
        "note",
        "the study needs roughly 9.0 GiB + what is unknown",
    ), "a rough estimate refuses no run"
    assert disk_check(5 * gib, 4 * gib, rough=large).found.endswith("is estimated to need 4.0 GiB")
    assert [gibibytes(n) for n in (5, 2048, 3 * 1024**2)] == ["5 B", "2 KiB", "3 MiB"]


def test_a_storage_that_goes_with_the_job_is_refused_and_all_that_is_bad_is_told(tmp_path: Path) -> None:
    lost = Path("/tmp/ray/session_2026-01-01_1_2/runtime_resources/working_dir_files/_ray_pkg_1/runs")
    checks = [*storage_checks(lost, None), *storage_checks(tmp_path, 1e18)]
    with pytest.raises(PreflightError) as caught:
        refuse_bad(checks)
    assert len(caught.value.problems) == 2
    assert "is deleted when the job ends (give --storage FOLDER on a file system" in str(caught.value)
    refuse_bad(storage_checks(tmp_path, 1.0)) if disk_free(tmp_path) else None


def test_a_database_in_the_folder_of_a_job_is_bad(
    tmp_path: Path, tiny_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsss.config import load_study
    from wsss.launch.preflight import preflight_checks

    job = tmp_path / "session_2026-01-01_1_2/runtime_resources/working_dir_files/_ray_pkg_1"
    job.mkdir(parents=True)
    monkeypatch.chdir(job)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    study = load_study(tiny_study, storage=str(tmp_path / "runs"))
    data = open_data(study.data, storage=tmp_path / "runs", verify=False)
    for uri in (tracking_uri(None, "s3://bucket/x"), "sqlite:///mlflow.db", f"sqlite+pysqlite:///{job}/a.db"):
        row = preflight_checks(study, data, uri)[-1]
        assert (row.what, row.state) == ("tracking", "bad") and str(job) in row.found
        assert "give `tracking.uri`" in row.hint
    assert preflight_checks(study, data, f"sqlite:///{tmp_path}/mlflow.db")[-1].state == "ok"


def disk_free(folder: Path) -> bool:
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize > 1024**3


def test_a_tracking_server_that_is_away_is_told_and_is_no_reason_to_stop(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert reach(f"http://127.0.0.1:{port}") == ("ok", f"http://127.0.0.1:{port} answers")
    state, found = reach(f"http://user:secret@127.0.0.1:{port}")
    assert state == "note" and "sent later" in found and "secret" not in found
    assert reach(f"sqlite:///{tmp_path}/mlflow.db") == ("ok", f"the file {tmp_path}/mlflow.db")
    assert reach("databricks://profile")[0] == "note"


class FakeCuda:
    """A GPU of 100 bytes, of which another process gives 30 back at each look."""

    def __init__(self, others: int, own: int = 5) -> None:
        self.others, self.own, self.fractions = others, own, []  # type: ignore[var-annotated]

    def is_available(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def empty_cache(self) -> None: ...

    def memory_reserved(self, device: int) -> int:
        return self.own

    def mem_get_info(self, device: int) -> tuple[int, int]:
        held, self.others = self.others, max(0, self.others - 30)
        return 100 - held - self.own, 100

    def set_per_process_memory_fraction(self, share: float) -> None:
        self.fractions.append(share)


def test_a_whole_gpu_is_waited_for_and_a_part_is_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    from wsss.tuning.trials import gpu

    looks: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: float(len(looks)), sleep=looks.append)
    monkeypatch.setattr(gpu, "time", clock)
    cuda = FakeCuda(others=80)
    monkeypatch.setattr(gpu, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(gpu, "_kept", {})
    told = list(gpu.prepare_gpu(1.0))
    assert len(looks) == 2, "80, then 50, then 20 bytes: two waits"
    assert told == [f"for other programs to leave GPU 0: they hold {n}% of its memory" for n in (80, 50)]
    assert not cuda.fractions
    looks.clear()
    cuda.others = 10**6
    assert len(list(gpu.prepare_gpu(1.0, wait=5))) == 6 and len(looks) == 5, "it doesn't wait for ever"
    looks.clear()
    assert not list(gpu.prepare_gpu(0.25)) and not looks
    assert cuda.fractions == [0.125], (
        "CUDA itself takes more than a card of 100 bytes has: half a share is left"
    )


def test_what_others_keep_is_waited_for_once_and_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A display holds a third of the card: no trial waits a minute for it."""
    from wsss.tuning.trials import gpu

    looks: list[float] = []
    monkeypatch.setattr(gpu, "time", SimpleNamespace(monotonic=lambda: sum(looks), sleep=looks.append))
    monkeypatch.setattr(gpu, "_kept", {})
    held = [0.9, 0.6, *[0.35] * 100]
    monkeypatch.setattr(gpu, "_held_by_others", lambda device: held.pop(0))
    monkeypatch.setattr(gpu, "torch", SimpleNamespace(cuda=FakeCuda(others=0)))
    told = list(gpu.prepare_gpu(1.0))
    assert sum(looks) == pytest.approx(2 * gpu.POLL + gpu.PATIENCE), "while it falls, and a little longer"
    assert told[-1] == "no longer for other programs, which keep 35% of GPU 0's memory"
    looks.clear()
    assert not list(gpu.prepare_gpu(1.0)) and not looks, "the next trial of this process knows"
    held.insert(0, 0.7)
    assert list(gpu.prepare_gpu(1.0)) and looks, "more than that is another trial's"


def test_a_share_of_a_card_leaves_room_for_cuda_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from virtual_gpu import virtual_gpus

    from wsss.tuning.trials import gpu

    with virtual_gpus(total=16 * 2**30) as card:
        assert not list(gpu.prepare_gpu(0.5))
        assert 2 * (card.fraction * card.total + gpu.CONTEXT) <= card.total
        assert card.fraction == 0.5 - 1 / 32


def test_a_kind_of_gpu_is_asked_of_ray_and_looked_for_on_nodes() -> None:
    from wsss.tuning.nodes.placement import placement_checks
    from wsss.tuning.trials.parts import asked_of_ray

    wanted = Resources(cpu=1, gpu=1, accelerator="A100")
    assert asked_of_ray(wanted) == {"cpu": 1, "gpu": 1, "accelerator_type:A100": 0.001}
    assert asked_of_ray(Resources(cpu=1, gpu=1)) == {"cpu": 1, "gpu": 1}
    nodes = [{"Resources": {"CPU": 8, "GPU": 2, f"accelerator_type:{kind}": 1}} for kind in ("T4", "A100")]
    (check,) = placement_checks([wanted], nodes)
    assert check.state == "ok" and "GPU of kind A100: 2 at a time" in check.found
    (check,) = placement_checks([Resources(cpu=1, gpu=1, accelerator="A10O")], nodes)
    assert check.state == "bad" and check.hint == "did you mean 'A100'?"
    (check,) = placement_checks([wanted], [{"Resources": {"CPU": 8, "GPU": 2}}])
    assert check.state == "bad" and check.hint == "no node says which kind of GPU it has"
    with pytest.raises(ValueError, match="`accelerator` is A100, but `gpu` is 0"):
        Resources(accelerator="A100")


def test_shared_memory_is_compared_with_what_a_trial_keeps_there(tmp_path: Path) -> None:
    from wsss.config import load_study_text
    from wsss.pipeline.forecasts.shared_memory import needed_shared_memory, shared_memory_check

    text = """
name: shm
data: {dataset: sample}
sweeps:
  - name: cam
    resources: {cpu: 4, gpu: 1}
    stages: [classifier: {crop: 448, batch: 16}, cams: {}]
"""
    study = load_study_text(text, source="shm.yaml", base=tmp_path)
    needed = needed_shared_memory(study)
    assert needed == 7 * 16 * 448**2 * 4, "three processes keep two batches each, and one is in use"
    alone = load_study_text(text.replace("cpu: 4", "cpu: 1"), source="shm.yaml", base=tmp_path)
    assert needed_shared_memory(alone) == 0
    (check,) = shared_memory_check(needed, 2**26, "10.0.0.7")
    assert check.state == "bad" and "10.0.0.7: 64 MiB are free" in check.found and "--shm-size" in check.hint
    assert shared_memory_check(needed, 2**30)[0].state == "ok"
    assert not shared_memory_check(0, 2**10) and not shared_memory_check(needed, None)


def test_the_local_preflight_has_only_what_makes_sense(tiny_study: Path, tmp_path: Path) -> None:
    from wsss.pipeline.local import machine_checks

    assert rows(machine_checks(Resources(cpu=1))) == [("CPUs", "ok")]
    assert rows(machine_checks(Resources(cpu=4096, gpu=64))) == [("CPUs", "bad"), ("GPUs", "bad")]
    assert dataclasses.astuple(machine_checks(Resources(cpu=1))[0])[1] == "ok"
