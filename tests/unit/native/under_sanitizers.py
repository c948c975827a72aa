"""A plugin of pytest for a run with C files that were built with sanitizers.

    FORGELOG_TEST_SANITIZED=FOLDER pytest -p tests.unit.native.under_sanitizers ...

takes the log's helper `_records.so` of the folder, if it is there, and has the launcher built into the folder.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import hypothesis

from services.resources.agent import native
from tests.unit.native import building

FOLDER = Path(os.environ["FORGELOG_TEST_SANITIZED"])


def _load(name: str, path: Path) -> None:
    """Have a compiled module of this file under that name, before somebody imports the usual one."""
    assert name not in sys.modules, f"{name} is imported already"
    loader = ExtensionFileLoader(name, str(path))
    spec = spec_from_loader(name, loader)
    assert spec is not None
    sys.modules[name] = module_from_spec(spec)
    loader.exec_module(sys.modules[name])


if (FOLDER / "_records.so").exists():
    _load("events.log._records", FOLDER / "_records.so")
native.FLAGS = (*native.FLAGS, *building.SANITIZERS, building.OPTIONS)
native.LINKING = ((),)
native.cache_folder = lambda: FOLDER

# Everything takes three times as long; all examples are tried without sanitizers.
hypothesis.settings.register_profile("sanitizers", max_examples=30, derandomize=True, deadline=None)
