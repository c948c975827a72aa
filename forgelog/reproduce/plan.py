"""What of a run can be restored, what its program does itself, and what is lacking and why. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from forgelog.capture.secrets import HIDDEN

if TYPE_CHECKING:
    from events.language.experiments.capture import CapturedProgram, RunCapture
    from events.language.jobs.spec import JobSpec

ARGUMENT = "FORGELOG_ARGUMENT_"
"""Beginning of the variables that give what was hidden: `FORGELOG_ARGUMENT_API_KEY` for ``--api-key``."""

PLACES = frozenset({"RANK", "LOCAL_RANK", "WORLD_SIZE", "CUDA_VISIBLE_DEVICES"})
"""Settings that say where a process was, and are not restored."""

_PYTHON = re.compile(r"^python[0-9.]*(\.exe)?$")
_ORIGIN = re.compile(r"^(?:-e +)?(?:(?P<name>\S+) @ )?(?P<url>file://\S+)(?:\s+# *(?P<said>[^\s=]+)==)?")
_LINE = re.compile(r"^(?:-e \S+ +# *)?([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+)")


class State(StrEnum):
    """What becomes of a part of a run."""

    RESTORED = "restored"
    BY_PROGRAM = "by the program"
    """The program does it itself, if it is as it was."""
    LACKING = "lacking"


@dataclass(frozen=True, slots=True)
class Step:
    """A part of a run."""

    part: str
    state: State
    text: str
    essential: bool = False
    """Whether nothing can be run without it."""


@dataclass(frozen=True, slots=True)
class Here:
    """This machine, as far as it matters for a run."""

    source: str = ""
    """Folder or URL to get the commit from; empty if there is none."""
    no_source: str = ""
    """Why there is none."""
    interpreter: str = ""
    """The Python that the program would be run with."""
    python: str = ""
    """Its version."""
    installed: Mapping[str, str] | None = None
    """Its packages: name → version. None: they are not known."""
    for_venv: str = ""
    """A Python of the version that the run had, to make an environment with; empty if there is none."""
    gpus: Sequence[str] = ()
    absent: frozenset[str] = frozenset()
    """Files and folders that packages were installed from, and that are not here."""
    no_folder: bool = False
    """Whether the program's working directory was outside of the repository, and is not here."""
    variables: Mapping[str, str] | None = None
    """The environment."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is restored of a run, and how it is run."""

    run_id: str
    experiment_id: str
    name: str
    steps: tuple[Step, ...]
    capture: RunCapture
    argv: tuple[str, ...]
    """With ``***`` replaced where it is known. Paths are those of then."""
    settings: Mapping[str, str]
    here: Here
    job: JobSpec | None = None
    """That of its job, if it had one."""
    bundle: tuple[str, int] | None = None
    """The uploaded code of its job: digest and size."""

    @property
    def obstacles(self) -> list[str]:
        """Why it can't be run; empty if it can."""
        return [f"{step.part}: {step.text}" for step in self.steps if step.essential and step.state is State.LACKING]


def planned(
    run: Mapping[str, Any],
    capture: RunCapture,
    inputs: Sequence[Mapping[str, Any]],
    here: Here,
    *,
    packages: str = "",
    venv: bool = False,
    job: JobSpec | None = None,
    bundle: tuple[str, int] | None = None,
    by_job: bool = False,
) -> Plan:
    """`packages`: the lines of the packages that the run had. `job`: that of its job. `by_job`: it is to be
    run as a job."""
    argv, hidden = _command(capture.program, here.variables or {})
    settings = dict(capture.program.settings) if capture.program else {}
    steps = [*_code(capture, here, bundle, by_job)]
    if by_job:
        steps += _job(job)
    else:
        steps += _packages(capture, here, packages, venv)
        steps += _program(capture, argv, hidden)
        if here.no_folder and capture.program is not None:
            text = f"{capture.program.working_directory} is not here; it runs in the restored folder"
            steps.append(Step("working directory", State.LACKING, text))
    steps += _settings(settings, job if by_job else None)
    steps += _seeds(capture)
    steps += _datasets(inputs)
    steps += [] if by_job else _machine(capture, here)
    return Plan(
        run_id=run["run_id"],
        experiment_id=run["experiment_id"],
        name=run["name"],
        steps=tuple(steps),
        capture=capture,
        here=here,
        argv=tuple(argv),
        settings={name: value for name, value in settings.items() if name not in PLACES},
        job=job,
        bundle=bundle,
    )


def _code(capture: RunCapture, here: Here, bundle: tuple[str, int] | None, by_job: bool) -> Iterator[Step]:
    code = capture.code
    if bundle is not None:
        yield Step("code", State.RESTORED, f"the folder that was uploaded for its job ({bundle[0][:12]})")
        return
    if code is None:
        why = next(
            (each.why for each in capture.left_out if each.part == "code" and not each.what), "it was not captured"
        )
        yield Step("code", State.LACKING, f"{why}", essential=not by_job)
        return
    if code.commit and not here.source:
        yield Step("code", State.LACKING, here.no_source, essential=not by_job)
        return
    what = f"commit {code.commit[:12]} from {here.source}" if code.commit else "there was no commit yet"
    yield Step("code", State.RESTORED, what)
    if code.changes is not None:
        files = f"{code.changed_files} file{'' if code.changed_files == 1 else 's'}"
        yield Step("changes", State.RESTORED, f"a patch of {files}, {code.changes.size:,} bytes")
    for out in capture.left_out:
        if out.part == "code" and out.what:
            yield Step("changes", State.LACKING, f"{out.what}: {out.why}")
    for inner in code.submodules:
        if inner.commit:
            yield Step("submodule", State.RESTORED, f"{inner.path}, commit {inner.commit[:12]}, if it can be fetched")


def _packages(capture: RunCapture, here: Here, lines: str, venv: bool) -> Iterator[Step]:
    then = capture.packages
    if then is None:
        yield Step("packages", State.LACKING, "they were not captured; those of this machine are used")
        return
    had = versions(lines)
    if venv:
        minor = ".".join(then.python.split(".")[:2])
        if here.for_venv:
            yield Step("packages", State.RESTORED, f"{len(had)} in a new environment of Python {minor}")
            yield from _origins(capture, here, lines)
        else:
            text = f"it ran with Python {then.python}, and there is no python{minor} on PATH"
            yield Step("packages", State.LACKING, text, essential=True)
        return
    if here.python and here.python != then.python:
        yield Step("python", State.LACKING, f"{then.python} then, {here.python} here; --venv makes an environment")
    if here.installed is None:
        yield Step("packages", State.LACKING, f"those of {here.interpreter or 'this machine'} are not known")
        return
    others = differing(had, here.installed)
    if others:
        shown = "; ".join(others[:5]) + (f"; and {len(others) - 5} more" if len(others) > 5 else "")
        yield Step("packages", State.LACKING, f"{len(others)} differ: {shown}; --venv restores them")
    else:
        yield Step("packages", State.RESTORED, f"all {len(had)} are here in these versions")


def _origins(capture: RunCapture, here: Here, lines: str) -> Iterator[Step]:
    """Packages that came from files or folders; those from the repository come with the code."""
    folder = capture.code.folder if capture.code is not None else ""
    for name, path in local_origins(lines).items():
        if _inside(path, folder):
            yield Step("packages", State.RESTORED, f"{name} from the restored code")
        elif path in here.absent:
            yield Step("packages", State.LACKING, f"{name} came from {path}, which is not here", essential=True)
        else:
            yield Step("packages", State.LACKING, f"{name} comes from {path}, as that is now")


def _program(capture: RunCapture, argv: Sequence[str], hidden: Sequence[str]) -> Iterator[Step]:
    if not argv:
        yield Step("command", State.LACKING, "it was not captured", essential=True)
        return
    if any("ipykernel" in each for each in argv):
        yield Step("command", State.LACKING, "it was a notebook, whose cells are not captured", essential=True)
        return
    yield Step("command", State.RESTORED, " ".join(argv))
    for each in hidden:
        text = f"{each} was hidden, for it may be a secret; set {variable_of(each)} to it"
        yield Step("command", State.LACKING, text, essential=True)
    for out in capture.left_out:
        if out.part == "program" and out.what == "arguments":
            yield Step("command", State.LACKING, out.why, essential=True)


def _job(job: JobSpec | None) -> Iterator[Step]:
    if job is None:
        yield Step("job", State.LACKING, "the run was no job of the platform; leave --job out", essential=True)
    elif job.array is not None:
        yield Step("job", State.LACKING, "it was one task of an array; leave --job out", essential=True)
    else:
        yield Step("job", State.RESTORED, f"the same spec: {' '.join([job.command, *job.args])}")
        yield Step("packages", State.BY_PROGRAM, "those of the node")


def _settings(settings: Mapping[str, str], job: JobSpec | None) -> Iterator[Step]:
    if job is not None:
        yield Step("variables", State.RESTORED, f"{len(job.environment.variables)} of the job")
        return
    restored = [f"{name}={value}" for name, value in settings.items() if name not in PLACES]
    if restored:
        yield Step("variables", State.RESTORED, ", ".join(restored))
    if (world := settings.get("WORLD_SIZE", "1")) != "1":
        yield Step("variables", State.LACKING, f"the program was one of {world} processes, and is run as one")


def _seeds(capture: RunCapture) -> Iterator[Step]:
    for name, seed in capture.seeds.items():
        if name == "PYTHONHASHSEED":
            yield Step("seed", State.RESTORED, f"{name}={seed}")
        else:
            yield Step("seed", State.BY_PROGRAM, f"{name}={seed}")
    if not capture.seeds:
        yield Step("seed", State.LACKING, "none was captured; a program that sets none gives other numbers each time")


def _datasets(inputs: Sequence[Mapping[str, Any]]) -> Iterator[Step]:
    for each in inputs:
        source = f", from {each['source']}" if each["source"] else ""
        yield Step("dataset", State.BY_PROGRAM, f"{each['name']}@{each['digest']}{source}")


def _machine(capture: RunCapture, here: Here) -> Iterator[Step]:
    if capture.machine is None:
        return
    then = [gpu.name for gpu in capture.machine.gpus]
    if then != list(here.gpus):
        yield Step("GPUs", State.LACKING, f"{_counted(then)} then, {_counted(here.gpus)} here")


def _counted(names: Sequence[str]) -> str:
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names)) or "none"


# The command


def variable_of(option: str) -> str:
    """The variable that gives a hidden argument."""
    return ARGUMENT + re.sub(r"[^A-Za-z0-9]+", "_", option.strip("-")).upper()


def _command(program: CapturedProgram | None, variables: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The command with what was hidden, as far as the environment gives it, and what is still hidden."""
    shown: list[str] = []
    lacking: list[str] = []
    for each in program.argv if program else ():
        if not each.endswith(HIDDEN):
            shown.append(each)
            continue
        name = each.removesuffix(HIDDEN).removesuffix("=") or (shown[-1] if shown else "")
        value = variables.get(variable_of(name))
        if value is None:
            lacking.append(name)
            shown.append(each)
        else:
            shown.append(each.removesuffix(HIDDEN) + value)
    return shown, lacking


def command_of(argv: Sequence[str], folder: str, restored: str, interpreter: str) -> list[str]:
    """A command as it is run now: paths in the repository (`folder`) lead into the `restored` one, and Python is the
    `interpreter`, which may be in the repository itself, with the programs beside it (`torchrun`)."""
    first, *rest = argv
    beside, _, name = first.replace("\\", "/").rpartition("/")
    if not _PYTHON.match(name):
        return [_moved(each, folder, restored) for each in argv]
    programs = interpreter.replace("\\", "/").rpartition("/")[0]

    def here(word: str) -> str:
        if beside and word.startswith(f"{beside}/"):
            return programs + word[len(beside) :]
        return _moved(word, folder, restored)

    return [interpreter, *map(here, rest)]


def _moved(word: str, folder: str, restored: str) -> str:
    """A word whose path, at its beginning or behind ``=``, leads into the restored folder."""
    head, equals, path = word.rpartition("=")
    if _inside(path, folder):
        return f"{head}{equals}{restored}{path[len(folder) :]}"
    return word


# Packages


def local_origins(lines: str) -> dict[str, str]:
    """Package → the file or folder of a machine that it was installed from."""
    found = (_ORIGIN.match(line) for line in lines.splitlines())
    return {each["name"] or each["said"] or each["url"]: _path(each["url"]) for each in found if each is not None}


def for_pip(lines: str, folder: str, restored: str) -> str:
    """The lines for an environment beside `restored` code: what was installed from the repository (`folder`) is
    installed from there."""

    def moved(found: re.Match[str]) -> str:
        return f"{found[1]}file://{quote(_moved(_path(found[2]), folder, restored))}"

    return re.sub(r"(?m)^((?:-e +)?(?:\S+ @ )?)(file://\S+)", moved, lines)


def _path(url: str) -> str:
    return unquote(urlsplit(url).path)


def _inside(path: str, folder: str) -> bool:
    return bool(folder) and (path == folder or path.startswith(f"{folder}/"))


def versions(lines: str) -> dict[str, str]:
    """Name → version (or where it came from), of the lines that were captured."""
    found = {}
    for line in lines.splitlines():
        if (pinned := _LINE.match(line)) is not None:
            found[_normal(pinned[1])] = pinned[2]
        elif " @ " in line:
            name, _, origin = line.partition(" @ ")
            found[_normal(name)] = origin.rpartition("==")[2] if "==" in origin else origin
    return found


def differing(then: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """How packages of the run and of this machine differ, in words. What is here only does not count. A package that
    came from a repository has no version to compare, and counts if it is not here."""
    found = {_normal(name): version for name, version in here.items()}
    texts = []
    for name, version in sorted(then.items()):
        if (now := found.get(name)) is None:
            texts.append(f"{name} {version} is not here")
        elif now != version and "://" not in version:
            texts.append(f"{name} {version} then, {now} here")
    return texts


def _normal(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()
