"""What a run ran: code, command, packages, machine, seeds. It is captured when the run begins, so that it can be
reproduced. Long texts are objects of the platform's store; values of environment variables are not captured.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from events.language.base import Model
from events.language.common import Identifier, Timestamp
from events.language.experiments.commands import RunCommand
from events.language.experiments.events import RunEvent
from events.language.experiments.hyperparameters import ParamKey
from events.language.experiments.models import Seed
from events.language.objects import ObjectRef

MAX_ARGUMENTS = 1_000
MAX_NAMES = 2_000
MAX_LEFT_OUT = 200

CommitId = Annotated[
    str,
    StringConstraints(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})?$"),
    Field(examples=["4b825dc642cb6eb9a060e54bf8d69288fbee4904"]),
]
"""Git's name of a commit; empty where there is none."""

ShortText = Annotated[str, StringConstraints(max_length=500)]
PathText = Annotated[str, StringConstraints(max_length=4_096)]
Argument = Annotated[str, StringConstraints(max_length=8_192)]


class CapturePart(StrEnum):
    """What is captured of a run."""

    CODE = "code"
    PROGRAM = "program"
    PACKAGES = "packages"
    MACHINE = "machine"
    SEEDS = "seeds"


class LeftOut(Model):
    """Something that was not captured."""

    part: CapturePart
    what: PathText = ""
    """A path in the repository, or an argument's or a variable's name; empty: the whole part."""
    why: ShortText


class CapturedSubmodule(Model):
    """A repository inside the repository. Changes in it are not captured."""

    path: PathText
    commit: CommitId
    """The one that was checked out; empty if none was."""


class CapturedCode(Model):
    """The program's git repository: a commit, and what was changed since."""

    commit: CommitId = ""
    """Empty if the repository had no commit yet. The changes are all files then."""
    branch: ShortText = ""
    """Empty if none was checked out (a detached HEAD)."""
    repository: PathText = ""
    """URL to fetch the commit from, without a password; empty if there was none."""
    folder: PathText = ""
    """Where the repository was, on the machine."""
    published: bool = False
    """Whether a branch of a remote had the commit, as far as the repository knew."""
    changes: ObjectRef | None = None
    """A patch in git's format from the commit to what was there, untracked files included; none if nothing was
    changed."""
    changed_files: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    """In the patch."""
    submodules: tuple[CapturedSubmodule, ...] = Field(default=(), max_length=MAX_LEFT_OUT)


class CapturedProgram(Model):
    """How the program was started."""

    argv: tuple[Argument, ...] = Field(default=(), max_length=MAX_ARGUMENTS)
    """The whole command, with the interpreter. A value that may be a secret is ``***``."""
    working_directory: PathText = ""
    """Relative to the repository if it was inside, else absolute; empty: the repository's own folder."""
    variables: tuple[ParamKey, ...] = Field(default=(), max_length=MAX_NAMES)
    """Names of the environment's variables, sorted."""
    settings: dict[ParamKey, Argument] = Field(default_factory=dict, max_length=MAX_NAMES)
    """Variables with values: only those that are known to change results and to hold no secrets, such as
    ``OMP_NUM_THREADS``."""


class CapturedPackages(Model):
    """What the program could import."""

    python: ShortText = ""
    """Version, such as ``3.12.3``."""
    implementation: ShortText = ""
    """Such as ``cpython``."""
    count: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    installed: ObjectRef | None = None
    """A line for each package, as pip reads it: ``name==version``."""
    lock_path: PathText = ""
    """The lock file that was there, such as ``uv.lock``, relative to the repository or the working directory."""
    lock: ObjectRef | None = None


class CapturedGPU(Model):
    """A GPU that the program could use."""

    name: ShortText
    memory_bytes: Annotated[int, Field(ge=0, le=1 << 45)] = 0
    driver: ShortText = ""


class CapturedMachine(Model):
    """Where the program ran."""

    host: ShortText = ""
    system: ShortText = ""
    """Such as ``Linux 6.8.0``."""
    architecture: ShortText = ""
    processor: ShortText = ""
    cpus: Annotated[int, Field(ge=0, lt=1 << 20)] = 0
    """That the process may use."""
    memory_bytes: Annotated[int, Field(ge=0, le=1 << 50)] = 0
    gpus: tuple[CapturedGPU, ...] = Field(default=(), max_length=1_024)
    container: bool = False
    image: ShortText = ""
    """The container's image, if the container tells."""


class RunCapture(Model):
    """What a run ran. A part that is left out is not known; `left_out` says why."""

    code: CapturedCode | None = None
    program: CapturedProgram | None = None
    packages: CapturedPackages | None = None
    machine: CapturedMachine | None = None
    seeds: dict[ParamKey, Seed] = Field(default_factory=dict, max_length=MAX_NAMES)
    """Name → seed of random numbers, such as ``numpy``; ``PYTHONHASHSEED`` if it is set."""
    left_out: tuple[LeftOut, ...] = Field(default=(), max_length=MAX_LEFT_OUT)

    def objects(self) -> tuple[ObjectRef, ...]:
        """What it names in the object store."""
        changes = self.code.changes if self.code else None
        installed, lock = (self.packages.installed, self.packages.lock) if self.packages else (None, None)
        return tuple(each for each in (changes, installed, lock) if each is not None)

    def over(self, earlier: RunCapture) -> RunCapture:
        """This capture, with the parts of an earlier one that it does not have. So what a job was submitted with stays
        known when its program captures the rest."""
        kept = {part: getattr(earlier, part) for part in PARTS if getattr(self, part) is None}
        unknown = {part for part in PARTS if getattr(self, part) is None and getattr(earlier, part) is not None}
        mine = tuple(each for each in self.left_out if each.part not in unknown)
        theirs = tuple(each for each in earlier.left_out if each.part in unknown)
        return self.model_copy(
            update={**kept, "seeds": {**earlier.seeds, **self.seeds}, "left_out": (*mine, *theirs)[:MAX_LEFT_OUT]}
        )


PARTS = ("code", "program", "packages", "machine")
"""Of a capture, those that are there or not."""


class CapturedRun(Model):
    """What a run ran, as queries tell of it."""

    run_id: Identifier
    capture: RunCapture
    captured_at: Timestamp


class CaptureRun(RunCommand):
    """Say what a run runs, whole or in parts; what is left out stays. Put the objects into the store first."""

    capture: RunCapture


class RunCaptured(RunEvent):
    """It runs this from here on. A part that is left out is as before."""

    capture: RunCapture
