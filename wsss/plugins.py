"""Registries: what there is under which name, from this package and from others.

A registry is filled when it is first looked at: it imports every module of the built-in packages that it
names, and of the packages below, so that a new file needs no list; then, once in a process, all entry points
of the group `wsss.plugins`. An entry point is a module that registers things when it is imported, or a
callable that registers them when it is called.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, cast

from wsss.errors import ConfigError, Problem, nearest, quoted

GROUP = "wsss.plugins"
"""The group of entry points by which other packages add theirs."""

T = TypeVar("T")
Thing = TypeVar("Thing")


class Registry(Generic[T]):
    """Names and what they stand for.

    Args:
        what: what it holds, in words, for messages: "stage".
        packages: dotted names of the packages whose modules, and those below, register the built-in entries.
        named: the attribute that names a thing.
    """

    def __init__(self, what: str, *packages: str, named: str = "name") -> None:
        self.what = what
        self._packages = packages
        self._named = named
        self._entries: dict[str, T] = {}
        self.instead: dict[str, T] | None = None
        """What is looked at instead, for tests; None for what is registered."""
        self._state = "empty"
        self._lock = threading.RLock()
        self.__module__ = sys._getframe(1).f_globals["__name__"]

    def __reduce__(self) -> str:
        """Return the name of the variable that holds it: another process means its own by it."""
        return next(name for name, one in vars(sys.modules[self.__module__]).items() if one is self)

    def register(self, thing: Thing) -> Thing:
        """Add a thing under its own name; a decorator. Raises `ConfigError` when the name is taken, and for a
        class that leaves out what its base asks of it."""
        if _plugins.loading:  # so that the plugin is refused, and nothing of this package
            self._load_own()
        name: str = getattr(thing, self._named)
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name, re.ASCII):
            expected = "letters, digits, '_', '.' or '-'"
            message = f"{_place(thing)} is named {quoted(name)}, but a name must be {expected}"
            raise ConfigError(Problem(self.what, message))
        if lacking := getattr(thing, "__abstractmethods__", ()):
            message = f"{_place(thing)} lacks {', '.join(sorted(lacking))}"
            raise ConfigError(Problem(self.what, message, "the class it is made from says what each does"))
        found = self._entries.get(name)
        if found is not None and not _same(found, thing):
            message = f"two are named {quoted(name)}: {_place(found)} and {_place(thing)}"
            raise ConfigError(Problem(self.what, message, "give one of them another name"))
        self._entries[name] = cast(T, thing)
        return thing

    def __getitem__(self, name: str) -> T:
        """Return what a name stands for. Raises `ConfigError` with the nearest name."""
        found = self.get(name)
        if found is None:
            message = f"there is no {self.what} {quoted(name)}"
            raise ConfigError(Problem(self.what, message, nearest(name, self.names())))
        return found

    def get(self, name: object) -> T | None:
        """Return what a name stands for, None where there is no such name."""
        return self._all().get(name) if isinstance(name, str) else None

    def names(self) -> tuple[str, ...]:
        """Return all names: the built-in ones, by the alphabet, then those of others."""
        return tuple(self._all())

    def values(self) -> tuple[T, ...]:
        """Return all things, in the order of their names."""
        return tuple(self._all().values())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._all()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self._all())

    @contextmanager
    def replaced(self, *things: T, alone: bool = False) -> Iterator[None]:
        """Put other things under their names until the end; `alone` hides all others."""
        before, outer = self._all(), self.instead
        self.instead = after = {
            **({} if alone else before),
            **{getattr(thing, self._named): thing for thing in things},
        }
        try:
            yield
        finally:
            assert self.instead is after, "what was replaced last is put back first"
            self.instead = outer

    def _all(self) -> dict[str, T]:
        if self.instead is not None:
            return self.instead
        self._load_own()
        _plugins.load()
        return self._entries

    def _load_own(self) -> None:
        with self._lock:
            if self._state != "empty":
                return  # it is full, or a module that is being imported asks
            self._state = "filling"
            try:
                for package in self._packages:
                    home = importlib.import_module(package)
                    for module in pkgutil.walk_packages(home.__path__, f"{package}."):
                        importlib.import_module(module.name)
            except BaseException:
                self._state = "empty"
                raise
            if self._packages:  # whichever module was imported first
                own = sorted(self._entries.items())
                self._entries.clear()
                self._entries.update(own)
            self._state = "full"


class _Plugins:
    """The entry points of other packages, imported once in a process."""

    def __init__(self) -> None:
        self.loading = False
        self._done = False
        self._error: ConfigError | None = None
        self._lock = threading.RLock()

    def load(self) -> None:
        with self._lock:
            if self.loading:
                return  # a plugin that is being imported asks
            if not self._done:
                self.loading = True
                try:
                    self._load_all()
                finally:
                    self.loading, self._done = False, True
            if self._error is not None:
                raise self._error

    def _load_all(self) -> None:
        problems = []
        for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
            try:
                found = entry.load()
                if callable(found):
                    found()
            except ConfigError as error:
                problems += [Problem(_title(entry), str(problem)) for problem in error.problems]
            except (Exception, SystemExit) as error:
                reason = f"can't be loaded: {type(error).__name__}: {error}"
                problems.append(Problem(_title(entry), reason, "repair it, or uninstall it"))
        self._error = ConfigError(problems) if problems else None


_plugins = _Plugins()


def _title(entry: EntryPoint) -> str:
    package = entry.dist.name if entry.dist else "unknown package"
    return f"plugin {entry.name} of {package}"


def _place(thing: Any) -> str:
    module = getattr(thing, "__module__", None) or type(thing).__module__
    return f"{module}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"


def _same(one: object, other: object) -> bool:
    """Whether two things are one, read again: a reloaded module, or a class sent to another process."""
    return one is other or _place(one) == _place(other)


def loaded(place: Any) -> Any:
    """Return what "package.module:name" names; anything else is returned as it is."""
    if not isinstance(place, str):
        return place
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
