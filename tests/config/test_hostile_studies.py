"""Study files from strangers: what was a traceback, a hang or a screen full of text is one short message."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
from command_line import in_process
from good_study import ONE_SWEEP as GOOD
from good_study import with_more

from wsss.config import load_study, load_study_text, smoke
from wsss.config.checks.size import MOST_TRIALS
from wsss.errors import ConfigError
from wsss.pipeline.search.sampling import sample_arm

LOG = "alpha: {loguniform: [0.2, 2]}"
put = GOOD.replace
HOSTILE = {
    "a NUL": (GOOD + "\0", "s.yaml:15: has a character that no text holds, '\\x00'"),
    "an escape sequence": (GOOD + "\x1b[31m", "s.yaml:15: has a character that no text holds, '\\x1b'"),
    "half a pair": (GOOD + 'tracking: {uri: "\\ud800"}', "can't be written, U+D800"),
    "5,000 digits": (put("epochs: 2", "epochs: " + "9" * 5000), "s.yaml:8: a number has 5000 digits"),
    "an escape beyond Unicode": (
        put("fmix:", '"\\UFFFFFFFF":'),
        "s.yaml:9: is not valid YAML: an escape or a number is too large",
    ),
    "a version of thousands of digits": (
        f"%YAML 1.{'9' * 5000}\n---\n{GOOD}",
        "is not valid YAML: an escape or a",
    ),
    "an anchor twice": (
        GOOD + "a: &x 1\nb: &x 2\n",
        "found duplicate anchor 'x', an anchor that stands above already",
    ),
    "a word as data": (
        re.sub("data: .*", "data: sample", GOOD),
        "`data` is 'sample', but must be a mapping of keys",
    ),
    "a number as sizes": (put("epochs: 2", "long_side: 3"), "`long_side` is 3, but must be a list"),
    "three sizes": (
        put("epochs: 2", "long_side: [1, 2, 3]"),
        "`long_side` is [1, 2, 3], but must have 2 or fewer values",
    ),
    "a name that begins with a hyphen": (put("name: good", "name: -good"), "the first a letter or digit"),
    "capitals": (GOOD + "SEED: 1\n", "unknown key `SEED` in the study (did you mean 'seed'?)"),
    "levels": ("a: " + "[" * 1000, "more than 32 levels of nesting"),
    "levels of blocks": ("- " * 1000, "more than 32 levels of nesting"),
    "levels of aliases": (
        "k0: &k0 [1]\n" + "".join(f"k{n}: &k{n} [*k{n - 1}]\n" for n in range(1, 300)),
        "more than 32 levels of nesting",
    ),
    "as a list": (put("cams: {", "cams: {as: [1], "), "s.yaml:8: the name of a stage is [1], but must be"),
    "from a list": (put("cams: {", "cams: {from: [x], "), "s.yaml:8: `from` is ['x'], but must be"),
    "a root with a NUL": (
        put("dataset: sample", 'dataset: folder, root: "a\\0b"'),
        "s.yaml:2: 'a\\x00b' holds a character that can't be written, U+0000",
    ),
    "a root too long": (
        put("dataset: sample", f"dataset: folder, root: {'x' * 300}"),
        "which is longer than a path can be",
    ),
    "a home of nobody": (
        GOOD + "storage: ~no-such-user/x\n",
        "`storage` is '~no-such-user/x', but nobody of that",
    ),
    "a root in it": (
        put("dataset: sample", "dataset: folder, root: ~no-such-user/x"),
        "`data.root` is '~no-such-user/x', but nobody of that name has a home",
    ),
    "a hub": (
        put("method: cam", "method: cam, backbone: 'timm/resnet18.hf-hub:x'"),
        "`backbone` is 'timm/resnet18.hf-hub:x', but must be a name, or `timm/NAME`",
    ),
    "90,000 keys": (GOOD + "".join(f"key{n}: 1\n" for n in range(90_000)), "s.yaml: is larger than 500 kB"),
    "9,000 keys": (GOOD + "".join(f"key{n}: 1\n" for n in range(9_000)), "more than 10000 values"),
    "3,000 keys": (GOOD + "".join(f"nam{n}: 1\n" for n in range(3_000)), "more problems"),
    "a range without samples": (
        put(LOG, "alpha: {randint: [1, 1000000000]}").replace("        samples: 2\n", ""),
        "the grid has 2,000,000,000 configurations",
    ),
    "an endless range": (put(LOG, "alpha: {uniform: [0, .inf]}"), "must lie within ±1e15"),
    "samples": (
        put("samples: 2", "samples: 1000000000000"),
        "s.yaml:11: `samples` is 1000000000000, but must be a whole number from 1 to 10000\n",
    ),
    "trials": (
        with_more(f"    seeds: {list(range(10))}\n").replace("samples: 2", "samples: 5000"),
        "has 50,010 trials up to here, but may have 10,000",
    ),
    "trials of later sweeps": (
        with_more(
            "  - {name: b, search: {p: {choice: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]}},"
            " stages: [pseudo_masks: {background_exponent: $p}]}\n"
        ).replace("samples: 2", "samples: 900, keep: 900".replace(", ", "\n        ")),
        "has 11,713 trials up to here",
    ),
    "an alias": (GOOD + "x: *" + "a" * 108_000, "found undefined alias"),
    "a tag": (GOOD + "x: !!timestamp no\n", "the tag 'tag:yaml.org,2002:timestamp' is not allowed"),
    "no truth": (GOOD + "x: !!bool no\n", "'no' is not what its tag"),
    "a method in a list": (put("method: cam", "method: [1]"), "there is no method [1]"),
    "a mixing in a list": (put("mixing: {", "mixing: {kind: [1], "), "`mixing.kind` is [1]"),
    "a searcher in a list": (with_more("    searcher: {kind: [1]}\n"), "`searcher` is [1]"),
    "to replicate a list": (
        with_more("  - {name: b, replicate: [1], seeds: [1]}\n"),
        "no earlier sweep is named [1]",
    ),
    "a bracket in a key": (put("epochs: 2", '"a[b": 2'), "unknown key `a[b`"),
    "a sliver of a GPU": (
        with_more("    resources: {gpu: 5e-324}\n"),
        "no GPU is shared by more than a thousand",
    ),
    "infinite hours": (GOOD + "budget: {hours: .inf}\n", "`hours` is inf"),
    "a budget in a list": (GOOD + "budget: []\n", "budget"),
    "epochs": (put("epochs: 2", "epochs: 1000000000"), "`epochs` is 1000000000, but must be less"),
    "a long name": (put("name: good", f"name: {'n' * 300}"), "at most 120 bytes"),
    "a homoglyph": (put("name: good", "nаme: good"), "did you mean 'name'? 'а' is U+0430"),
    "nothing": ("", "the study must be a mapping of keys, but is None"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_study_is_one_short_message(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, expected = HOSTILE[name]
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(text)
    in_process("plan", "--help")  # imports take time of their own
    begun = time.thread_time()
    done = in_process("plan", "s.yaml")
    assert time.thread_time() - begun < 2
    assert done.returncode == 2
    assert expected in done.stderr and len(done.stderr.encode()) <= 4096
    assert all(c.isprintable() or c in "\n" for c in done.stderr)
    assert not done.stdout and "a fault of wsss" not in done.stderr


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pipe", "is no regular file"),
        ("/dev/zero", "is no regular file"),
        ("folder", "is a folder, but must be a file"),
        ("circle.yaml", "Too many levels of symbolic links"),
        ("utf16.yaml", "it is in UTF-16: save it as UTF-8"),
        ("binary.yaml", "is not a text file in UTF-8"),
        ("missing.yaml", "there is no such study file (did you mean 'missing1.yaml'?)"),
        ("n" * 300 + ".yaml", "File name too long"),
    ],
)
def test_only_a_text_file_is_read(
    name: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("folder").mkdir()
    Path("circle.yaml").symlink_to("circle.yaml")
    Path("utf16.yaml").write_text(GOOD, encoding="utf-16")
    Path("binary.yaml").write_bytes(b"\xff\0\x80")
    Path("missing1.yaml").write_text(GOOD)
    with pytest.raises(ConfigError) as caught:
        load_study(Path(name))
    assert expected in str(caught.value)


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(GOOD, encoding="utf-8-sig")
    assert load_study(tmp_path / "s.yaml").name == "good"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--name", "a: b"), "--name a: b: the name of the study is 'a: b'"),
        (("--name", "[1"), "--name [1: the name of the study is '[1'"),
        (("--name", "x" * 5000), "at most 120 bytes"),
        (("--storage", "~no-such-user/x"), "--storage: is '~no-such-user/x', but nobody of that name"),
        (("--storage", "x" * 5000), "longer than a path can be"),
        (("-s", "a" * 100_000), "must read KEY=VALUE"),
        (("-s", ".".join("a" * 5000) + "=1"), "the address has more than 16 words"),
        (("-s", "seed=" + "9" * 5000), "a number has 5000 digits"),
        (("-s", "seed=" + "[" * 5000), "more than 32 levels"),
        (
            ("-s", "sweeps.cam.baseline.stages=[cams: [1]]", "-s", "sweeps.cam.baseline.cams.flip=true"),
            "holds no keys",
        ),
        (("-s", "sweeps=[1, {name: cam}]", "-s", "sweeps.cam.keep=1"), "a sweep must be a mapping"),
        (("-s", "sweeps=5", "-s", "sweeps.*.keep=1"), "no sweep is named '*'"),
        (("-s", "sweeps.cam.resources=[1]", "-s", "sweeps.*.resources.gpu=1"), "holds no keys"),
    ],
)
def test_hostile_options_are_one_short_message(
    words: tuple[str, ...], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(GOOD)
    done = in_process("plan", "s.yaml", *words)
    assert done.returncode == 2 and expected in done.stderr
    assert len(done.stderr.encode()) <= 4096 and "a fault of wsss" not in done.stderr


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("classifier.epochs", "true"), ("classifier.lr", "true"), ("classifier.grad_clip", "false")),
        *(("classifier.long_side", "[true, 64]"), ("cams.scales", "[true]")),
    ],
)
def test_true_is_no_number(key: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(GOOD)
    done = in_process("plan", "s.yaml", "-s", f"sweeps.cam.baseline.{key}={value}")
    assert done.returncode == 2
    assert f"`{key.rpartition('.')[2]}` is " in done.stderr
    assert "but must be numbers, neither true nor false" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("compare", "x" * 5000),
        ("compare", ".."),
        ("resume", "x" * 300),
        ("plan", "x" * 5000),
        ("predict", "x" * 5000, "--model", "abcdef", "-o", "out"),
        ("predict", "s.yaml", "--model", "abcdef", "-o", "o" * 5000),
        ("data", "check", "x" * 5000),
        ("data", "check", ".", "--labels", "x" * 5000),
        ("storage", "ls", "--storage", "a\x01"),
    ],
)
def test_hostile_arguments_of_other_verbs(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(GOOD)
    done = in_process(*words)
    assert done.returncode == 2 and done.stderr.startswith("error: ")
    assert len(done.stderr.encode()) <= 4096 and "a fault of wsss" not in done.stderr


def test_a_grid_is_cut_short_without_making_the_rest() -> None:
    text = GOOD.replace(LOG, "alpha: {randint: [1, 1000000000]}").replace(
        "name: cam\n", "name: cam\n    searcher: grid\n"
    )
    arm = load_study_text(text, source="s", base=Path()).sweeps[0].arms[1]
    found = sample_arm(arm.search, searcher="grid", samples=5, seed=0, name="x")
    assert [tuple(values.values()) for values in found] == [(1, 2), (1, 3), (2, 2), (2, 3), (3, 2)]


def test_what_is_just_small_enough_is_taken() -> None:
    text = GOOD.replace("samples: 2", f"samples: {MOST_TRIALS - 1}")
    study = load_study_text(text, source="s", base=Path(), name="n" * 114)
    assert smoke(study).name == "n" * 114 + "-smoke"
    with pytest.raises(ConfigError, match="too long to add '-smoke'"):
        smoke(load_study_text(text, source="s", base=Path(), name="n" * 115))


def test_what_nobody_foresaw_is_one_message_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise LookupError("no \x1b[31mluck")

    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(GOOD)
    monkeypatch.setattr("wsss.config.load.check_study", broken)
    done = in_process("plan", "s.yaml")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: LookupError: no \\x1b[31mluck in wsss.config.load, line ")
    assert "WSSS_TRACEBACK=1" in done.stderr
    monkeypatch.setenv("WSSS_TRACEBACK", "1")
    assert "Traceback (most recent call last)" in in_process("plan", "s.yaml").stderr
