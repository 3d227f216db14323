"""The house's rules, read from the code itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsss.config.stage import STAGES

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "wsss").rglob("*.py"))
FLOORS = [
    {"addresses", "errors", "files", "labels", "temporary", "processes", "plugins", "config"},
    {"methods", "masks", "models", "data", "metrics", "store"},
    {"stages"},
    {"pipeline"},
    {"tracking"},
    {"tuning"},
    {"report", "predict"},
    {"launch"},
    {"api"},
    {"cli"},
]
LEVEL = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "os.system",
    "pickle.load",
    "pickle.loads",
    "yaml.unsafe_load",
    "torch.hub.load",
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute, so that this test can read them"
            assert node.module
            yield node.module
            if node.module == "wsss":  # `from wsss import cli` names a room too
                yield from (f"wsss.{alias.name}" for alias in node.names if alias.name in LEVEL)


def room(path: Path) -> str:
    first = path.relative_to(ROOT / "wsss").parts[0]
    return first.removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_keeps_the_rules(path: Path) -> None:
    here = room(path)
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "ray":
            assert here == "tuning"
        if top == "mlflow":
            assert here == "tracking"
        if top == "wsss" and rest:
            there = rest.partition(".")[0]
            if here not in ("__init__", "__main__"):
                assert LEVEL[there] <= LEVEL[here], f"{here} must not import {there}"
            assert there != "cli" or here in ("cli", "__main__")
    assert len(path.read_text().splitlines()) <= 400


def test_a_room_holds_about_a_dozen_files() -> None:
    """A newcomer can hold no more; a crowded room gets sub-rooms."""
    rooms = {path.parent for path in FILES}
    sizes = {room: sum(path.name != "__init__.py" for path in room.glob("*.py")) for room in rooms}
    assert not {str(room.relative_to(ROOT)): size for room, size in sizes.items() if size > 13}


def test_no_two_files_need_each_other() -> None:
    """Imports inside of functions count, those for types alone don't; a package's face is no file of its own."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES}
    needs = {name: set(imports_at_run_time(path)) & names.keys() for name, path in names.items()}
    pairs = [(one, other) for one in needs for other in needs[one] if one < other and one in needs[other]]
    assert not pairs


def imports_at_run_time(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    for_types = [node for node in blocks if ast.unparse(node.test) == "TYPE_CHECKING"]
    left_out = {id(inner) for node in for_types for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and id(node) not in left_out:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


SUB_ROOMS = ["chains", "past", "search", "forecasts"]
"""Of the pipeline: a trial's keys, records, verdicts and forecasts. Each imports those that it needs."""


def sub_rooms_needed(room: str) -> set[str]:
    """Return the sub-rooms that a sub-room's files import, themselves or through files beside the sub-rooms."""
    pipeline, found, looked = ROOT / "wsss/pipeline", set[str](), set[Path]()
    pending = list((pipeline / room).glob("*.py"))
    while pending:
        path = pending.pop()
        looked.add(path)
        for name in imports(path):
            parts = name.split(".")
            if parts[:2] != ["wsss", "pipeline"] or len(parts) < 3:
                continue
            beside = pipeline / f"{parts[2]}.py"
            if parts[2] in SUB_ROOMS:
                found.add(parts[2])
            elif beside.is_file() and beside not in looked:
                pending.append(beside)
    return found - {room}


def test_no_two_sub_rooms_of_the_pipeline_need_each_other() -> None:
    """So that what flows from a chain to the store and back enters none of them twice."""
    needs = {room: sub_rooms_needed(room) for room in SUB_ROOMS}
    assert needs["chains"] == set(), "what a chain is and how it is made needs no past, search or forecast"
    pairs = [(one, other) for one in needs for other in needs[one] if one in needs[other]]
    assert not pairs


def test_importing_the_package_or_its_config_is_cheap() -> None:
    code = (
        "import sys, wsss, wsss.config; print(sorted({'torch', 'ray', 'mlflow', 'numpy'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() in ("[]", "['numpy']")


@pytest.mark.parametrize(
    "word", ["allow_pickle=True", "weights_only=False", "shell=True", "yaml.load(", "eval("]
)
def test_nothing_unsafe_is_called(word: str) -> None:
    found = [
        path
        for path in FILES
        if any(word in line and f".{word}" not in line for line in path.read_text().splitlines())
    ]
    assert not found


def test_nothing_is_unpickled_or_evaluated() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called, given = ast.unparse(node.func), {keyword.arg for keyword in node.keywords}
            assert called not in FORBIDDEN_CALLS, f"{path}:{node.lineno} calls {called}"
            if called == "torch.load":
                assert "weights_only" in given, f"{path}:{node.lineno} must say weights_only=True"
            if called == "Image.open":
                assert "formats" in given, f"{path}:{node.lineno} must say which formats= it opens"
            if called == "np.load":
                assert "allow_pickle" in given, f"{path}:{node.lineno} must say allow_pickle=False"


@pytest.mark.parametrize("path", [ROOT / "launch.py", *FILES], ids=lambda path: str(path.relative_to(ROOT)))
def test_only_launchers_import_the_command_line(path: Path) -> None:
    uses = any(name == "wsss.cli" or name.startswith("wsss.cli.") for name in imports(path))
    assert not uses or path.name in ("launch.py", "__main__.py") or room(path) == "cli"


def test_files_of_tests_have_names_of_their_own() -> None:
    """They are imported by name alone: a second one of a name would be refused, or left out."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert len(names) == len(set(names)), sorted({name for name in names if names.count(name) > 1})


def test_files_that_the_docs_name_are_there() -> None:
    """Paths as `pipeline/chains/make.py`, of the package or of the repository; words in capitals stand for any name."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    named = {
        (page.name, path)
        for page in pages
        for path in re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+\.(?:py|yaml|json))?)`", page.read_text())
        if path.split("/")[0] in {*LEVEL, "wsss", "tests", "benchmarks", "tune_configs"}
    }
    assert len(named) > 30
    assert not [one for one in named if not ((ROOT / one[1]).exists() or (ROOT / "wsss" / one[1]).exists())]


def test_names_that_the_docs_import_are_there() -> None:
    """Modules as `wsss.stages.cams`, and what stands in them, as "wsss.stages.cams:Cams"."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    named = {
        (page.name, module, name)
        for page in pages
        for module, name in re.findall(r"\bwsss\.([a-z_]+(?:\.[a-z_0-9]+)+)(?::(\w+))?", page.read_text())
        if module.split(".")[0] in LEVEL
    }
    assert len(named) > 50
    for page, module, name in named:
        file = ROOT / "wsss" / module.replace(".", "/")
        file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
        assert file.is_file(), f"{page} names wsss.{module}"
        assert not name or re.search(rf"\b{name}\b", file.read_text()), f"{page} names wsss.{module}:{name}"


def test_texts_are_utf8_whatever_the_locale() -> None:
    """A batch system may set LC_ALL to one of other letters: what was written on a laptop breaks there."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or any(word.arg == "encoding" for word in node.keywords):
                continue
            called = ast.unparse(node.func)
            last = node.args[-1] if node.args else None
            mode = last.value if isinstance(last, ast.Constant) and isinstance(last.value, str) else ""
            is_text = {
                "read_text": "." in called,  # ours is called without a dot
                "write_text": "." in called,
                "open": set(mode) <= set("rwaxt+") and (bool(mode) or last is None),
                "fdopen": bool(mode) and set(mode) <= set("rwaxt+"),
                "run": any(word.arg == "text" for word in node.keywords),
                "Popen": any(word.arg == "text" for word in node.keywords),
            }.get(called.rpartition(".")[2])
            assert not is_text, f"{path}:{node.lineno} says no encoding: {ast.unparse(node)}"


def test_an_args_section_names_every_argument_and_no_other() -> None:
    wrong = []
    functions = ((path, node) for path in FILES for node in ast.walk(ast.parse(path.read_text())))
    for path, node in functions:
        text = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
        if not isinstance(node, ast.FunctionDef) or text is None or "Args:\n" not in text:
            continue
        taken = node.args
        stars = [one for one in (taken.vararg, taken.kwarg) if one is not None]
        names = {one.arg for one in (*taken.posonlyargs, *taken.args, *taken.kwonlyargs, *stars)}
        section = text.partition("Args:\n")[2].partition("\n\n")[0]
        told = set(re.findall(r"^    \*{0,2}(\w+):", section, re.MULTILINE))
        if told != names - {"self", "cls"}:
            wrong.append(f"{path}:{node.lineno} {node.name}")
    assert not wrong


STAGES_NAMED = {
    **dict.fromkeys(("__init__.py", "api/__init__.py"), "the function `cams` of a notebook"),
    **dict.fromkeys(
        ("config/params/pixel_head.py", "config/params/segmentation.py"), "values of `supervision`"
    ),
    "config/params/stages.py": "values of parameters, and what an import's path makes",
    "config/params/classifier.py": "a method's parts",
    "methods/objective.py": "terms of the loss",
    "masks/foreign/files.py": "kinds of files of other programs",
    "masks/foreign/layouts.py": "a word of other programs' files",
    "pipeline/speed/measure.py": "measures these stages, each beside a bare network",
    "predict/labelling/recipe.py": "writes a study",
    "predict/trained/model_folder.py": "words of the folder's format",
    "report/conclusion.py": "a word of the same format",
    **dict.fromkeys(("report/doubts.py", "report/study_doubts.py"), "who made masks"),
}
"""Files outside of the stages where a stage's name may stand, and what it is there."""


def test_no_other_file_decides_by_the_name_of_a_stage() -> None:
    """A stage is asked for its facts, so that a new one is two files; see `wsss.config.stage`."""
    words = {"scores", "features", "walk", "agreement", "pictures", "import", "command"}  # stand for more
    names = set(STAGES.names()) - words
    assert {"classifier", "cams", "pseudo_masks", "segmenter", "segmentations"} <= names
    named, compared = set[str](), set[str]()
    for path in (path for path in FILES if room(path) != "stages"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and node.value in names:
                named.add(str(path.relative_to(ROOT / "wsss")))
            sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
            if any(isinstance(side, ast.Constant) and side.value in names for side in sides):
                compared.add(str(path.relative_to(ROOT / "wsss")))
    assert named == set(STAGES_NAMED)
    assert {name for name in compared if not name.startswith("config/params/")} == set()


NAMED_ONCE = [
    *("stages/kinds/training/files.py", "stages/kinds/features.py", "stages/kinds/scoring/scores.py"),
    *("stages/kinds/scoring/pictures.py", "stages/step_metrics.py", "tracking/content/tags.py"),
    *("config/naming.py", "pipeline/past/data_inventory.py", "store/ledger.py"),
]
"""Files with names that several rooms read: of files in artefacts, metrics, tags."""


def test_a_name_that_several_rooms_read_is_written_in_one_file() -> None:
    named = re.compile(r"[\w.]+\.(json|jsonl|npz|png|safetensors)|wsss\.\w+|\w+/\w+|\w+_\w+")
    home = {}
    for path in (ROOT / "wsss" / name for name in NAMED_ONCE):
        for node in ast.parse(path.read_text()).body:
            values = ast.walk(node.value) if isinstance(node, ast.Assign) else ()
            texts = [
                one.value for one in values if isinstance(one, ast.Constant) and isinstance(one.value, str)
            ]
            home.update({text: path for text in texts if named.fullmatch(text)})
    assert len(home) > 30
    found = [
        f"{path}:{node.lineno} {node.value}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and home.get(node.value, path) != path
    ]
    assert not found
