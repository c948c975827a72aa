"""The synchronous client is the asynchronous one without coroutines: the same names, arguments and types."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from forgelog.client import aio, sync
from forgelog.client.flat import AsyncFlat
from proto import GenerationError, sync_client

KINDS = [
    getattr(sys.modules[f"forgelog.client.{module.name}"], node.name)
    for module in sync_client.modules()
    for node in module.classes
]
STAYING = {"submit", "run", "job", "upload"}


def plain(text: str) -> str:
    return re.sub(r"\bAsync(?=[A-Z])", "", text)


def public(kind: type) -> dict[str, Any]:
    """What users see of a class, without `close`, which does more where there is a loop to end."""
    members = inspect.getmembers_static(kind)
    seen = {name: value for name, value in members if name == "__call__" or not name.startswith("_")}
    seen.pop("close", None)
    return seen


def signature(function: Any) -> str:
    return plain(str(inspect.signature(function)))


def test_there_is_one_class_for_each_of_the_asynchronous_half() -> None:
    names = {kind.__name__ for kind in KINDS}
    assert names >= {"AsyncClient", "AsyncJobs", "AsyncQueues", "AsyncNodes", "AsyncLog", "AsyncJob"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_public_method_has_its_namesake_with_the_same_signature_and_docstring(kind: type) -> None:
    twin = getattr(sync, plain(kind.__name__))
    wanted = {name: value for name, value in public(kind).items() if name not in sync_client.ASYNC_ONLY}
    assert set(public(twin)) >= set(wanted)
    for name, value in wanted.items():
        if inspect.isfunction(value):
            own = getattr(twin, name)
            assert signature(own) == signature(value), name
            assert own.__doc__ == plain(value.__doc__), name
            assert not inspect.iscoroutinefunction(own), name


@pytest.mark.parametrize("kind", [aio.AsyncClient, sync.Client])
def test_a_client_is_made_with_the_same_arguments(kind: type) -> None:
    assert list(inspect.signature(kind).parameters) == ["address", "project", "actor", "token", "timeout"]


# Names without a namespace


class Recorded:
    """A namespace that takes any call and notes it."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(*args: object, **_: object) -> tuple[object, ...]:
            self.calls.append(name)
            return args

        return call


@pytest.fixture
def client() -> aio.AsyncClient:
    made = aio.AsyncClient("127.0.0.1:1")
    for name in ("jobs", "queues", "nodes", "log"):
        vars(made)[name] = Recorded()
    return made


FLAT = sorted(name for name in vars(AsyncFlat) if not name.startswith("_"))


@pytest.mark.parametrize("name", sorted(STAYING))
def test_what_everyone_types_stays_at_the_top(client: Any, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert getattr(client, name)("a") == ("a",)
    assert client.jobs.calls == [name]


@pytest.mark.parametrize("name", sorted({*FLAT} - STAYING))
def test_a_name_of_the_last_release_warns_once_and_names_the_new_call(client: Any, name: str) -> None:
    with pytest.warns(DeprecationWarning, match="has moved to client") as told:
        assert getattr(client, name)("a") == ("a",)
    (warning,) = told
    assert warning.filename == __file__
    namespace, call = re.search(r"client\.(\w+)\.(\w+)\(", str(warning.message)).groups()  # type: ignore[union-attr]
    assert getattr(client, namespace).calls == [call]


class Ran:
    """A loop that has run already."""

    def run(self, work: object) -> object:
        return work


@pytest.mark.parametrize("kind", ["Jobs", "Queues", "Nodes"])
def test_calling_a_namespace_was_its_list(kind: str) -> None:
    behind = Recorded()
    namespace = getattr(sync, kind)(behind, Ran())
    with pytest.warns(DeprecationWarning, match=rf"client\.{kind.lower()}\.list\("):
        namespace()
    assert behind.calls == ["list"]


# A context that is added

NOTES = '''
from __future__ import annotations

from collections.abc import AsyncIterator

from forgelog.client.core import Namespace


class AsyncNote:
    """A note."""

    id: str
    """Its id."""

    async def text(self) -> str:
        """What it says."""
        return ""


class AsyncNotes(Namespace):
    """Notes."""

    async def add(self, text: str, *, pinned: bool = False) -> AsyncNote:
        """Add a note."""
        return AsyncNote()

    async def list(self) -> list[AsyncNote]:
        """All of them."""
        return []

    async def watch(self) -> AsyncIterator[str]:
        """Texts as they come."""
        yield ""
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The client's modules, and one of a context that was added with two lines of `aio.py`."""
    copied = Path(shutil.copytree(sync_client.FOLDER, tmp_path / "client"))
    (copied / "notes.py").write_text(NOTES)
    source = (copied / "aio.py").read_text()
    for after, line in [
        ("from forgelog.client.nodes import AsyncNodes\n", "from forgelog.client.notes import AsyncNotes\n"),
        ("    log = namespace(AsyncLog)\n", "    notes = namespace(AsyncNotes)\n"),
    ]:
        assert after in source
        source = source.replace(after, after + line)
    (copied / "aio.py").write_text(source)
    return copied


def test_a_namespace_that_is_added_with_two_lines_is_in_the_synchronous_client(folder: Path) -> None:
    text = sync_client.render(folder)
    compile(text, "sync.py", "exec")
    assert "    def notes(self) -> Notes:" in text
    assert "        return Note(self._loop.run(self._async.add(text, pinned=pinned)), self._loop)" in text
    assert "        return [Note(each, self._loop) for each in self._loop.run(self._async.list())]" in text
    assert "        return self._loop.iterate(self._async.watch())" in text
    assert "        return self._async.id" in text


@pytest.mark.parametrize(
    ("method", "problem"),
    [
        (
            "async def both(self) -> tuple[AsyncNote, str]: ...",
            "AsyncNotes.both: tuple[AsyncNote, str] has no counterpart",
        ),
        ("@staticmethod\n    def of() -> str: ...", "AsyncNotes.of: @staticmethod has no counterpart"),
        ("async def at(self, when: datetime) -> None: ...", "notes.py: datetime is neither imported nor defined"),
    ],
)
def test_what_has_no_counterpart_is_refused_and_named(folder: Path, method: str, problem: str) -> None:
    with (folder / "notes.py").open("a") as notes:
        notes.write(f"\n    {method}\n")
    with pytest.raises(GenerationError, match=re.escape(problem)):
        sync_client.render(folder)


def test_a_name_of_two_modules_is_refused_for_one_would_take_the_place_of_the_other(folder: Path) -> None:
    notes = folder / "notes.py"
    method = "    async def wait(self, timeout: float = WAIT_SECONDS) -> None: ..."
    notes.write_text(notes.read_text().replace("class ", "WAIT_SECONDS = 1.0\n\n\nclass ", 1) + f"\n{method}\n")
    problem = (
        "WAIT_SECONDS is in forgelog.client.deployments and in forgelog.client.notes; give one of them another name"
    )
    with pytest.raises(GenerationError, match=re.escape(problem)):
        sync_client.render(folder)


# Types

PROGRAM = """
from collections.abc import AsyncIterator, Iterator
from typing import assert_type

from events.language.objects import ObjectRef
from forgelog import AsyncClient, AsyncJob, Client, Job
from forgelog.client.rows import EventRow, JobAnswer, JobRow, LogPiece, NodeRow, QueueRow


def plain() -> None:
    with Client("127.0.0.1:1", timeout=3) as client:
        assert_type(client, Client)
        assert_type(client.submit(name="a", command=["true"], id="b"), Job)
        assert_type(client.run("job.yaml"), int)
        assert_type(client.job("j").wait(timeout=1.5), JobRow)
        assert_type(client.upload("."), ObjectRef)
        assert_type(client.jobs.submit_many("jobs.yaml"), list[Job])
        assert_type(client.jobs.list(status=["failed"], limit=10), list[JobRow])
        assert_type(client.jobs.get("j"), JobAnswer)
        assert_type(client.jobs.logs("j", follow=True), Iterator[LogPiece])
        assert_type(client.queues.list(), list[QueueRow])
        assert_type(client.nodes.list(), list[NodeRow])
        assert_type(client.log.history("jobs", "j"), list[EventRow])
        assert_type(client.job("j").last, JobRow | None)
        assert_type(client.get("j"), JobAnswer)
        assert_type(client.jobs(limit=1), list[JobRow])


async def coroutines() -> None:
    async with AsyncClient() as client:
        assert_type(await client.submit(name="a", command=["true"]), AsyncJob)
        assert_type(await client.jobs.list(limit=None), list[JobRow])
        assert_type(client.jobs.watch(["j"]), AsyncIterator[JobRow])
        assert_type(await client.get("j"), JobAnswer)
        assert_type(await client.nodes(pool="p"), list[NodeRow])


def wrong(client: Client) -> None:
    client.jobs.list(state="failed")  # type: ignore[call-arg]
    client.jobs.get(1)  # type: ignore[arg-type]
    client.cancel("j", task="1")  # type: ignore[call-arg]
    client.queues.create()  # type: ignore[call-arg]
"""


def test_a_program_s_types_are_those_that_the_methods_say(tmp_path: Path) -> None:
    """mypy's `--strict` also reports an ignored error that is none."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--strict", str(program)]
    done = subprocess.run(command, cwd=sync_client.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
