"""Carries out a Dockerfile without Docker: each stage into a folder, its paths (``/venv``) below that.

Only what one of ours has. Commands that change the machine itself (packages, users) are kept for the caller to judge
and not run; the machine has what they would bring. An absolute path that is neither the image's own nor the machine's
is an error: it could lead out of the folder.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests import PATIENCE

OWN = ("app", "venv", "locked.txt", "wheel", "data", "keys", "objects", "owner", "replicas")
"""Top names of the image's own paths."""
MACHINES = ("apt-get", "pip", "useradd")
"""Programs that change the machine."""

_PATH = re.compile(r"(?<![\w./*-])/(?P<top>[\w.-]+)")


@dataclass
class Stage:
    """What a stage has come to; the last is the image."""

    root: Path
    environment: dict[str, str]
    workdir: Path
    user: str = "root"
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    skipped: list[str] = field(default_factory=list)
    """Commands that would have changed the machine."""

    def inside(self, text: str) -> str:
        """The text with the image's paths below the stage's folder."""

        def moved(match: re.Match[str]) -> str:
            assert match["top"] in OWN, f"{match[0]} is no path of the image that is known here: {text}"
            return f"{self.root}/{match['top']}"

        return _PATH.sub(moved, text)


@dataclass
class Builder:
    """`context`: the checkout. `folder`: of the stages. `environment`: of the base image. `owner`: the uid that stands
    for the image's user."""

    context: Path
    folder: Path
    environment: Mapping[str, str]
    owner: int

    def build(self, dockerfile: Path) -> Stage:
        stages: dict[str, Stage] = {}
        stage: Stage | None = None
        skipped: list[str] = []
        for word, rest in instructions(dockerfile.read_text()):
            if word == "FROM":
                name = rest.partition(" AS ")[2] or "final"
                root = self.folder / name
                root.mkdir()
                stage = stages[name] = Stage(root, dict(self.environment), root, skipped=skipped)
                continue
            assert stage is not None, "an instruction stands before FROM"
            if word == "RUN":
                self._run(stage, rest)
            elif word == "COPY":
                self._copy(stage, stages, rest)
            elif word == "ENV":
                for pair in shlex.split(rest):
                    key, _, value = pair.partition("=")
                    value = stage.inside(value).replace("$PATH", stage.environment["PATH"])
                    stage.environment[key] = self.environment.get(key, value) if key != "PATH" else value
            elif word == "WORKDIR":
                stage.workdir = Path(stage.inside(rest))
                stage.workdir.mkdir(parents=True, exist_ok=True)
            elif word == "USER":
                stage.user = rest
            elif word == "ENTRYPOINT":
                stage.entrypoint = json.loads(rest)
            elif word == "CMD":
                stage.command = json.loads(rest)
            else:
                raise AssertionError(f"{word} is not known here")
        assert stage is not None, "the file has no stage"
        return stage

    def _run(self, stage: Stage, command: str) -> None:
        if command.split()[0] in MACHINES:
            stage.skipped.append(command)
            return
        text = stage.inside(command).replace("--owner 10001", f"--owner {self.owner}")
        done = subprocess.run(
            ["sh", "-c", text],
            cwd=stage.workdir,
            env=stage.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=3 * PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{text}:\n{done.stdout}"

    def _copy(self, stage: Stage, stages: Mapping[str, Stage], rest: str) -> None:
        *sources, target = rest.split()
        origin = self.context
        if sources[0].startswith("--from="):
            other = stages[sources.pop(0).removeprefix("--from=")]
            origin, sources = Path("/"), [other.inside(each) for each in sources]
        for source in sources:
            found = origin / source
            into = Path(stage.inside(target)) if target.startswith("/") else stage.workdir / target
            if found.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*.so")
                ignored = ignored if origin == self.context else None
                shutil.copytree(found, into, symlinks=True, ignore=ignored, dirs_exist_ok=True)
            else:
                shutil.copy2(found, into / found.name if into.is_dir() else into)


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Word and rest of each, without comments, lines that go on made one."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        word, _, rest = line.partition(" ")
        yield word, rest.strip()
