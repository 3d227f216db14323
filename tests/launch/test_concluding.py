"""What a study came to is said when all that says it is there."""

from __future__ import annotations

import subprocess
import sys

HALF_MADE = """
import importlib.abc, importlib.machinery, sys, threading, time

class Slow(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name == "pandas" else None

    def exec_module(self, module):
        begun.set()
        time.sleep(0.5)
        module.DataFrame = object

begun = threading.Event()
sys.meta_path.insert(0, Slow())
from wsss.launch.concluding import wait_for_pandas
assert "pandas" not in sys.modules
thread = threading.Thread(target=lambda: __import__("pandas"))
thread.start()
begun.wait()
assert not hasattr(sys.modules["pandas"], "DataFrame"), "it is half made"
wait_for_pandas()
print(hasattr(sys.modules["pandas"], "DataFrame"))
"""


def test_a_library_that_another_thread_is_loading_is_waited_for() -> None:
    done = subprocess.run([sys.executable, "-c", HALF_MADE], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True"
