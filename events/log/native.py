"""The log's C helper, compiled beside its source where a C compiler and Python's headers are; Python does without.

    python -m events.log.native

compiles it with the compiler in ``CC``, else ``cc``, and prints what it did, if anything; ``make setup`` runs it. A
wheel that was built with a compiler contains it. ``FORGELOG_PURE=1`` turns it off. A helper that was compiled from
another source than the one beside it is not used until the command above compiles it again. `status` says which of the
three is in use.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import sysconfig
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).parent
NAMES = ("_records",)

Status = Literal["compiled", "pure", "stale"]
COMPILED: Status = "compiled"
PURE: Status = "pure"
STALE: Status = "stale"

_used: dict[str, Status] = {}
"""Name → the result of the first `load`. The modules that use a helper load it once, when they are imported."""


def load(name: str) -> Any:
    """The compiled module ``events.log.<name>``; None if the Python version is to be used."""
    module, found = _look(name)
    _used.setdefault(name, found)
    return module


def status() -> Status:
    """How this process reads and writes the log: by the compiled helpers, in Python, or in Python because a helper is
    stale (compiled from another source than the one beside it). The files may have changed since it started."""
    found = {_used.get(name) or _look(name)[1] for name in NAMES}
    return next((each for each in (STALE, PURE) if each in found), COMPILED)


def unwanted() -> bool:
    """Whether ``FORGELOG_PURE`` turns the compiled helpers off."""
    return bool(os.environ.get("FORGELOG_PURE"))


def _look(name: str) -> tuple[Any, Status]:
    if unwanted():
        return None, PURE
    try:
        module = importlib.import_module(f"events.log.{name}")
    except ImportError:
        return None, PURE
    source = HERE / f"{name}.c"
    if source.exists() and digest_of(source) != module.SOURCE:
        return None, STALE
    return module, COMPILED


def digest_of(source: Path) -> str:
    """The digest by which a compiled module names its source."""
    return sha256(source.read_bytes()).hexdigest()[:16]


def compile_module(name: str, folder: Path = HERE) -> str:
    """Compile a helper into the folder. Returns a message for people, empty if there was nothing to do. If it can't be
    compiled, an older compiled helper is removed."""
    source = HERE / f"{name}.c"
    digest = digest_of(source)
    target = folder / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
    if folder == HERE and target.exists() and _made_from(name) == digest:
        return ""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    headers = Path(sysconfig.get_paths()["include"])
    if compiler is None or not (headers / "Python.h").exists():
        missing = "no C compiler" if compiler is None else "Python's headers are not installed"
        target.unlink(missing_ok=True)
        return f"{missing}: the log's hot loops run in Python"
    made = target.with_name(f"{target.name}.{os.getpid()}")
    command = [compiler, "-O2", "-shared", "-fPIC", f"-I{headers}", f'-DSOURCE="{digest}"']
    command += [str(source), "-o", str(made)]
    if sys.platform == "darwin":
        command[1:1] = ["-undefined", "dynamic_lookup"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        made.unlink(missing_ok=True)
        target.unlink(missing_ok=True)
        return f"{source.name} does not compile here, the log's hot loops run in Python:\n{done.stderr}"
    made.replace(target)
    return f"compiled {source.name}"


def _made_from(name: str) -> str:
    """The digest of the source that the module at hand was compiled from; empty if it can't be loaded."""
    try:
        return str(importlib.import_module(f"events.log.{name}").SOURCE)
    except ImportError:
        return ""


def main() -> None:
    for name in NAMES:
        if said := compile_module(name):
            print(said, file=sys.stderr)


if __name__ == "__main__":
    main()
