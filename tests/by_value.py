"""Modules of tests that Ray takes to its workers whole, as those can't import them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def by_value(*modules: ModuleType) -> Iterator[None]:
    """Let Ray pickle the classes and functions of these modules by value; afterwards all is as before.

    Ray reads such a class in this process, too. cloudpickle then finds the class that is there already and
    gives it methods whose globals are a copy of the module's: what a later test patches in the module, they
    would never see.
    """
    import ray

    classes = [
        one for module in modules for one in vars(module).values()
        if isinstance(one, type) and one.__module__ == module.__name__
    ]  # fmt: skip
    before = {one: dict(vars(one)) for one in classes}
    for module in modules:
        ray.cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            ray.cloudpickle.unregister_pickle_by_value(module)
        for one, content in before.items():
            for name, value in content.items():
                if name not in ("__dict__", "__weakref__"):
                    setattr(one, name, value)
