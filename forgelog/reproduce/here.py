"""Looks at this machine: where the commit can be had, which Python there is, what is installed. Blocks."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from forgelog.capture.git import GitFailed, git, text
from forgelog.reproduce.plan import Here, local_origins

if TYPE_CHECKING:
    from events.language.experiments.capture import RunCapture

_SECONDS = 60.0
_URL = re.compile(r"^(https?|ssh|git|file)://|^[A-Za-z0-9._-]+@[A-Za-z0-9._-]+:")
"""What git fetches from without running a program that the address names."""
_LIST = (
    "import json, platform, importlib.metadata as m; print(json.dumps([platform.python_version(), "
    "{d.metadata['Name']: d.version for d in reversed(list(m.distributions())) if d.metadata['Name']}]))"
)


def look(capture: RunCapture, *, repository: str = "", venv: bool = False, packages: str = "") -> Here:
    """`repository`: a folder or URL to get the commit from, instead of those that were captured. `packages`: the lines
    of those that the run had."""
    source, why = _source(capture, repository)
    interpreter = _interpreter(capture)
    version, installed = _asked(interpreter)
    return Here(
        source=source,
        no_source=why,
        interpreter=interpreter,
        python=version,
        installed=installed,
        for_venv=_for_venv(capture, interpreter, version) if venv else "",
        gpus=_gpus(),
        absent=frozenset(path for path in local_origins(packages).values() if not Path(path).exists()),
        no_folder=_lacks_folder(capture),
        variables=dict(os.environ),
    )


def _source(capture: RunCapture, repository: str) -> tuple[str, str]:
    """Folder or URL that has the commit, and why there is none."""
    code = capture.code
    if code is None or not code.commit:
        return "", ""
    tried = []
    for each in dict.fromkeys((repository,) if repository else (code.folder, code.repository)):
        if not each:
            continue
        if Path(each).is_dir():
            try:
                git(Path(each), "cat-file", "-e", f"{code.commit}^{{commit}}")
                return text(Path(each), "rev-parse", "--show-toplevel"), ""
            except GitFailed as error:
                tried.append(f"{each} does not have it ({error})")
        elif _URL.match(each):
            return each, ""  # whether it has the commit is known when it is fetched
        elif each == repository:
            tried.append(f"{each} is no folder and no URL")
    where = "; ".join(tried) or "its repository is not on this machine, and had no remote"
    return "", f"commit {code.commit[:12]} can't be had: {where}; --repository names another folder or URL"


def _interpreter(capture: RunCapture) -> str:
    """The Python of then if it is here, else the one that this program runs with."""
    argv = capture.program.argv if capture.program else ()
    first = argv[0] if argv else ""
    if "/" in first or Path(first).is_absolute():
        of_repository = capture.code.folder if capture.code is not None else ""
        beside = Path(of_repository, capture.program.working_directory) if capture.program else Path()
        path = beside / first  # an absolute one stays as it is
        return str(path) if path.is_absolute() and os.access(path, os.X_OK) else sys.executable
    return shutil.which(first) or sys.executable if first else sys.executable


def _asked(interpreter: str) -> tuple[str, dict[str, str] | None]:
    """The version of a Python, and its packages; empty and None if it does not say."""
    if not Path(interpreter).name.startswith("python"):
        return "", None
    try:
        ran = subprocess.run(
            [interpreter, "-c", _LIST], capture_output=True, text=True, check=True, timeout=_SECONDS, cwd="/"
        )
        version, installed = json.loads(ran.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return "", None
    return version, installed


def _for_venv(capture: RunCapture, interpreter: str, version: str) -> str:
    if capture.packages is None:
        return ""
    minor = ".".join(capture.packages.python.split(".")[:2])
    if ".".join(version.split(".")[:2]) == minor:
        return interpreter
    return shutil.which(f"python{minor}") or ""


def _lacks_folder(capture: RunCapture) -> bool:
    folder = Path(capture.program.working_directory) if capture.program else Path()
    return folder.is_absolute() and not folder.is_dir()


def _gpus() -> tuple[str, ...]:
    from forgelog.capture.machine import gpus

    return tuple(gpu.name for gpu in gpus())
