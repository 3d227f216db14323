"""Registries: what is registered is found, what isn't is named, and other packages add theirs."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from ray import cloudpickle

from wsss import plugins
from wsss.config.data_set import DataSetKind
from wsss.config.parts import Regulariser, WayToHide
from wsss.config.stage import STAGES, StageKind
from wsss.config.tuning import LearningSearcher
from wsss.data.fetching.fetch import Fetch
from wsss.errors import ConfigError
from wsss.models import Backbone
from wsss.models.head import HEADS, Head
from wsss.plugins import Registry


class Thing:
    def __init__(self, name: str) -> None:
        self.name = name


@pytest.fixture(autouse=True)
def no_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without entry points, unless a test has some."""
    monkeypatch.setattr(plugins, "_plugins", plugins._Plugins())
    monkeypatch.setattr(plugins, "entry_points", lambda group: [])


def installed(monkeypatch: pytest.MonkeyPatch, *entries: tuple[str, str]) -> None:
    found = [EntryPoint(name, value, plugins.GROUP) for name, value in entries]
    monkeypatch.setattr(plugins, "entry_points", lambda group: found if group == "wsss.plugins" else [])


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path; what is imported from it is forgotten."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_miss_names_the_nearest() -> None:
    registry: Registry[Thing] = Registry("thing")
    for name in ("apple", "pear"):
        registry.register(Thing(name))
    assert registry["apple"].name == "apple" and registry.get("plum") is None
    assert registry.names() == tuple(registry) == ("apple", "pear") and len(registry) == 2
    assert "pear" in registry and 5 not in registry
    with pytest.raises(ConfigError, match=r"there is no thing 'aple' \(did you mean 'apple'\?\)"):
        registry["aple"]


def test_what_leaves_out_a_part_is_refused_when_it_is_registered() -> None:
    """Not when a study has run for an hour and first asks for it."""

    class Half(Head):
        name = "half_of_test"

        def maps(self, features: Any) -> Any:
            return features

    with pytest.raises(ConfigError, match=r"Half lacks logits") as caught:
        HEADS.register(Half)
    assert "head: " in str(caught.value)
    for base in (Regulariser, WayToHide, DataSetKind, StageKind, Fetch, LearningSearcher, Head, Backbone):
        assert base.__abstractmethods__, base


def test_modules_of_the_built_in_package_are_found_without_a_list(room: Path) -> None:
    package = room / "fruit_of_test"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from wsss.plugins import Registry\nFRUIT = Registry('fruit', 'fruit_of_test')\n"
    )
    for name in ("fig", "kiwi"):
        (package / f"{name}.py").write_text(
            f"from fruit_of_test import FRUIT\n@FRUIT.register\nclass Fruit:\n    name = {name!r}\n"
        )
    (package / "citrus").mkdir()
    (package / "citrus" / "__init__.py").touch()
    (package / "citrus" / "lime.py").write_text(
        "from fruit_of_test import FRUIT\n@FRUIT.register\nclass Fruit:\n    name = 'lime'\n"
    )
    import fruit_of_test  # type: ignore[import-not-found]
    from fruit_of_test import kiwi  # noqa: F401 - before the others

    assert fruit_of_test.FRUIT.names() == ("fig", "kiwi", "lime")


def test_an_entry_point_is_a_module_or_a_callable_and_is_loaded_once(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (room / "plugin_of_test.py").write_text(
        "import sys\nfrom wsss.plugins import Registry\n"
        "registry = sys.modules['builtins'].registry_of_test\n"
        "@registry.register\nclass Own:\n    name = 'module'\n"
        "@registry.register\nclass Other:\n    name = 'second'\n"
        "registry.names()\n"  # a plugin may look at what there is
    )
    (room / "called_of_test.py").write_text(
        "import sys\ncalls = []\n"
        "def add():\n    calls.append(1)\n"
        "    sys.modules['builtins'].registry_of_test.register(type('C', (), {'name': 'called'}))\n"
    )
    registry: Registry[Any] = Registry("thing")
    monkeypatch.setattr("builtins.registry_of_test", registry, raising=False)
    installed(monkeypatch, ("a", "plugin_of_test"), ("b", "called_of_test:add"))
    assert registry.names() == ("module", "second", "called") == registry.names()
    assert Registry("other").names() == ()
    assert sys.modules["called_of_test"].calls == [1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("import no_such_module_of_test", "ModuleNotFoundError: No module named 'no_such_module_of_test'"),
        ("def broken(:", "SyntaxError"),
        ("raise RuntimeError('out of order')", "RuntimeError: out of order"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_one_message_every_time(
    room: Path, monkeypatch: pytest.MonkeyPatch, content: str, reason: str
) -> None:
    (room / "broken_of_test.py").write_text(content)
    installed(monkeypatch, ("mine", "broken_of_test"))
    registry: Registry[Thing] = Registry("thing")
    for _ in range(2):
        with pytest.raises(ConfigError) as caught:
            registry.names()
        assert str(caught.value).startswith("plugin mine of unknown package: can't be loaded: ")
        assert reason in str(caught.value) and "\n" not in str(caught.value)


def test_a_name_that_is_taken_is_refused_naming_both(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (room / "plugin_of_test2.py").write_text(
        "import sys\n@sys.modules['builtins'].registry_of_test.register\nclass Mine:\n    name = 'apple'\n"
    )
    registry: Registry[Any] = Registry("thing")
    registry.register(Thing("apple"))
    monkeypatch.setattr("builtins.registry_of_test", registry, raising=False)
    installed(monkeypatch, ("mine", "plugin_of_test2"))
    with pytest.raises(ConfigError) as caught:
        registry.names()
    text = str(caught.value)
    assert "two are named 'apple'" in text and "test_plugins.Thing" in text and "plugin_of_test2.Mine" in text


def test_what_is_replaced_is_put_back() -> None:
    registry: Registry[Thing] = Registry("thing")
    apple, other = registry.register(Thing("apple")), Thing("apple")
    with registry.replaced(other, Thing("pear")):
        assert registry["apple"] is other and len(registry) == 2
        with registry.replaced(Thing("fig"), alone=True):
            assert registry.names() == ("fig",)
        assert registry["apple"] is other
    assert registry["apple"] is apple and registry.names() == ("apple",)


@pytest.mark.parametrize("name", ["", "two words", "a/b", "$x", "\nx", 5])
def test_a_name_that_cannot_stand_in_a_study_is_refused(name: Any) -> None:
    registry: Registry[Thing] = Registry("thing")
    with pytest.raises(ConfigError, match="but a name must be"):
        registry.register(Thing(name))


def test_a_registry_is_sent_to_other_processes_by_its_name() -> None:
    """Ray pickles classes of notebooks by value, with the globals that they use."""
    assert pickle.loads(pickle.dumps(STAGES)) is STAGES
    assert cloudpickle.loads(cloudpickle.dumps(lambda: STAGES))() is STAGES
