"""A context is named once, in `events.language.contexts` or by a variable; all else follows from that."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from events.language.contexts import OWN, RESERVED, VARIABLE, ContextsError, ContextSpec, contexts, processes
from events.language.registry import command_types, event_types
from events.language.streams import OUTPUT, StreamTopic
from forgelog.embedded import kafka_users

ROOT = Path(__file__).parents[3]

(SPEC,) = re.findall(r"```python\n(# noting/__init__.py\n.*?)```", (ROOT / "docs/layout.md").read_text(), re.DOTALL)
"""As the documentation shows it."""

LANGUAGE = '''
from typing import ClassVar
from events.language.base import Command, Event

class AddNote(Command):
    """Write a note."""
    context: ClassVar[str] = "notes"
    aggregate: ClassVar[str] = "note"
    subject_from: ClassVar[str] = "note_id"
    key_from: ClassVar[str] = "note_id"
    note_id: str
    text: str

class NoteAdded(Event):
    """A note was written."""
    context: ClassVar[str] = "notes"
    aggregate: ClassVar[str] = "note"
    subject_from: ClassVar[str] = "note_id"
    key_from: ClassVar[str] = "note_id"
    note_id: str
    text: str
'''
HEAD = "from events.language.contexts import ContextSpec\n"

PROJECTIONS = "PROJECTION = 'that of notes'\n"

ASK = """
import json, re, sys
from pathlib import Path
from events.language.registry import command_types, event_types
from events.log import topics
from events.process.settings import Settings
from events.projections.rebuild import projection_of
from forgelog.cli.log import ContextOption, contexts_of
from forgelog.embedded.kafka_users import rules
from forgelog.embedded.layout import Folder, Server, Wanted
from forgelog.embedded.roster import Roster
from proto import text
from proto.shapes import files
from services.gateway.openapi import _CONTEXT
from services.gateway.schemas import Schemas

folder = Folder(Path(sys.argv[1]))
folder.make()
roster = Roster(folder, Settings.load(data=folder.path))
roster.choose_ports(None)
schemas = Schemas(Settings.load(data=folder.path))
document = json.loads(schemas.asyncapi)
given = Wanted(Server("given", "127.0.0.1:1"), Server("given", "postgresql://127.0.0.1:1/db"))
specs = {plan.name: plan.make() for plan in roster.services(given)}
print(json.dumps({
    "commands": [name for name in command_types() if ".notes." in name],
    "events": [name for name in event_types() if ".notes." in name],
    "topics": sorted(name for name in topics.wanted(4) if "notes" in name),
    "rules": sorted([rule.user, rule.name, rule.operation, rule.deny] for rule in rules("p.") if "notes" in rule.name),
    "words": contexts_of(None),
    "help": ContextOption.__metadata__[0].help,
    "argv": {name: spec.argv[3:] for name, spec in specs.items()},
    "instances": {name: spec.env["FORGELOG_INSTANCE"] for name, spec in specs.items()},
    "told": specs["jobs"].env["FORGELOG_SERVICES"].replace(roster._address("notes"), "ADDRESS"),
    "projection": projection_of("notes"),
    "asked": _CONTEXT["enum"],
    "listed": [name for name in schemas.types if ".notes." in name],
    "schema": sorted(json.loads(schemas.of("AddNote"))["properties"]),
    "channels": [name for name in document["channels"] if "notes" in name],
    "messages": [name for name in document["components"]["messages"] if ".notes." in name],
    "leading nowhere": sorted(set(re.findall(r'"#/components/schemas/([^"]+)"', schemas.asyncapi.decode()))
        - document["components"]["schemas"].keys()),
    "examples": len(document["components"]["messages"]["forgelog.jobs.v1.SubmitJob"]["examples"]),
    "types": {file.context: text.render(file, "") for file in files()}["notes"],
}))
"""


@pytest.fixture
def noting(tmp_path: Path) -> Path:
    """A folder with a context that is no part of Forgelog."""
    package = tmp_path / "noting"
    package.mkdir()
    (package / "__init__.py").write_text(SPEC)
    (package / "language.py").write_text(LANGUAGE)
    (package / "projections.py").write_text(PROJECTIONS)
    return tmp_path


def run(value: str, path: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """What a Python of its own says that is told these contexts."""
    environment = {**os.environ, VARIABLE: value, "PYTHONPATH": f"{path}{os.pathsep}{ROOT}"}
    return subprocess.run([sys.executable, *argv], env=environment, capture_output=True, text=True, timeout=120)


def test_all_that_names_the_contexts_follows_a_context_that_is_added(noting: Path) -> None:
    done = run("noting:NOTES", noting, "-c", ASK, str(noting / "data"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    names = [*(spec.name for spec in OWN), "notes"]
    assert found["commands"] == ["forgelog.notes.v1.AddNote"]
    assert found["events"] == ["forgelog.notes.v1.NoteAdded"]
    assert found["topics"] == ["commands.notes", "deadletter.notes", "events.notes"]
    read, write = 3, 4
    assert found["rules"] == [
        ["producer", "p.commands.notes", write, False],
        ["producer", "p.deadletter.notes", read, False],
        ["producer", "p.events.notes", read, False],
        ["producer", "p.notes.writer", read, True],
    ]
    assert (found["words"], found["asked"]) == (names, names)
    assert ", ".join(names) in found["help"]
    alone = {spec.name: [f"services.{spec.name}"] for spec in OWN if spec.hosted == "alone"}
    together = [spec.name for spec in OWN if spec.hosted == "together"]
    assert found["argv"] == {**alone, "services": ["services", *together, "notes"], "gateway": ["services.gateway"]}
    instances = {name: f"{name}-0" for name in (*alone, "gateway")}
    assert found["instances"] == {**instances, "services": "{context}-0"}
    assert found["told"].endswith(",notes=ADDRESS")
    assert found["projection"] == "that of notes"
    assert found["listed"] == found["messages"] == [*found["commands"], *found["events"]]
    assert found["schema"] == ["note_id", "text"]
    assert found["channels"] == ["commands.notes", "events.notes"]
    assert (found["leading nowhere"], found["examples"]) == ([], 1)
    assert "package forgelog.notes.v1;" in found["types"]
    assert "message NoteAdded {\n  string note_id = 1;\n  string text = 2;" in found["types"]


SEND = """
import sys
from google.protobuf.any_pb2 import Any
from events.process.settings import Settings
from services.gateway.catalog import Catalog
from services.gateway.commands import Door
from services.gateway.errors import DoorError
from services.gateway.limits import Bounds
from services.gateway.principal import Access, Principal

door = Door(Catalog(), Bounds(), Access(Settings(data=sys.argv[1])))
try:
    door.check(Principal("owner"), {}, Any(type_url="type.googleapis.com/forgelog.notes.v1.AddNote"))
except DoorError as error:
    print(error.code.name, error)
body = b'{"note_id": "n", "text": "t"}'
print(door.check(Principal("owner"), {"type": "forgelog.notes.v1.AddNote"}, body).outgoing.command)
"""


def test_a_command_that_has_no_message_is_sent_as_json(noting: Path) -> None:
    (noting / "data").mkdir()
    done = run("noting:NOTES", noting, "-c", SEND, str(noting / "data"))
    assert (done.stdout.splitlines(), done.stderr) == (
        ["INVALID_ARGUMENT forgelog.notes.v1.AddNote has no message; send it as JSON", "note_id='n' text='t'"],
        "",
    )


def test_what_is_generated_is_of_forgelogs_own_contexts(noting: Path) -> None:
    done = run("noting:NOTES", noting, "-m", "proto.generate", "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


LANGUAGE_OF_MUTE = "the language of the context 'mute' can't be imported"
IMPORTS_ALONE = "imports more of Forgelog than events.language.contexts"

MODULES = {
    "broken": "import nowhere\n",
    "circular": f"import forgelog.embedded.roster\n{HEAD}SPEC = ContextSpec('circular', '')\n",
    "deep": f"from events.language.registry import lookup\n{HEAD}SPEC = ContextSpec('deep', '')\n",
    "ending": "import sys\nsys.exit('secret')\n",
    "failing": "raise RuntimeError('secret')\n",
    "missing": "from json import secret\n",
    "named": f"{HEAD}SPEC = ContextSpec('gateway', '')\n",
    "silent": "def __getattr__(name):\n    raise KeyError('secret')\n",
    "written": "secret word\n",
    "texted": f"{HEAD}SPEC = ContextSpec('mute', '', language='noting.language')\n",
    "relative": f"{HEAD}SPEC = ContextSpec('mute', '', language=('.secret',))\n",
}
"""Module → its text; none of them has a context that can be used."""

AT_A_SERVICE = ("secret.word", "circular:SPEC", "deep:SPEC", "noting:NOTES, noting:NOTES", "ending:SPEC", "silent:SPEC")
"""What a service is told too, which takes four times as long to import: its door says any problem of the variable as it
says one, but has imported other modules by then, and ends otherwise."""


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("secret.word", "entry 1 is not package.module:NAME"),
        ("noting:NOTES,,secret word:X", "entry 2 is not package.module:NAME"),
        ("secret.word:X", "entry 1 names a module that can't be found; is its folder in PYTHONPATH?"),
        ("noting.secret:X", "entry 1 names a module that can't be found; is its folder in PYTHONPATH?"),
        ("broken:X", "entry 1: No module named 'nowhere', which its module imports"),
        ("noting:secret", "entry 1: its module has no ContextSpec of that name"),
        ("circular:SPEC", IMPORTS_ALONE),
        ("deep:SPEC", IMPORTS_ALONE),
        ("noting:NOTES, noting:NOTES", "entry 2 is a second context 'notes'; give it another name"),
        ("named:SPEC", "a context can't be called 'gateway': write 2 to 16 lower-case letters and digits"),
        ("noting:NOTES,failing:SPEC", "entry 2: its module can't be imported: RuntimeError; import it by itself"),
        ("ending:SPEC", "entry 1: its module can't be imported: SystemExit; import it by itself"),
        ("missing:SPEC", "entry 1: its module can't be imported: ImportError; import it by itself"),
        ("written:SPEC", "entry 1: its module can't be imported: SyntaxError; import it by itself"),
        ("silent:SPEC", "entry 1: its module can't be imported: KeyError; import it by itself"),
        ("texted:SPEC", "the context 'mute': language is no tuple; write ('package.module',)"),
        ("relative:SPEC", "the context 'mute': language names no module by its full name: write package.module"),
    ],
)
def test_what_cannot_be_used_is_named_in_a_line_that_keeps_the_value(noting: Path, value: str, problem: str) -> None:
    for name, text in MODULES.items():
        (noting / f"{name}.py").write_text(text)
    doors: list[tuple[tuple[str, ...], int]] = [(("-c", "from forgelog.cli import main; main()", "history", "x"), 2)]
    if value in AT_A_SERVICE:
        doors.append((("-m", "services.jobs"), 1))
    for argv, code in doors:
        done = run(value, noting, *argv)
        assert problem in done.stderr, argv
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (code, "", 1), done.stderr
        assert "secret" not in done.stderr


@pytest.mark.parametrize(
    ("modules", "problem"),
    [
        (("noting.words",), f"{LANGUAGE_OF_MUTE}: No module named 'noting.words'"),
        ((), f"{LANGUAGE_OF_MUTE}: there is no module events.language.mute"),
        (("noting.language",), "noting.language.AddNote names the context 'notes', but is in a module of 'mute'"),
        (("noting.bare",), "forgelog.mute.v1.Erase: aggregate is not set; set it as a class variable"),
        (("noting.nameless",), "noting.nameless.Erase: context is not set; set it as a class variable"),
        (("noting.failing",), f"{LANGUAGE_OF_MUTE}: RuntimeError; import it by itself"),
        (("noting.written",), f"{LANGUAGE_OF_MUTE}: SyntaxError; import it by itself"),
        (("noting.missing",), f"{LANGUAGE_OF_MUTE}: ImportError; import it by itself"),
        (("noting.untyped",), f"{LANGUAGE_OF_MUTE}: PydanticUserError; import it by itself"),
        (("noting.unending",), f"{LANGUAGE_OF_MUTE}: SchemaError; import it by itself"),
    ],
)
def test_a_language_that_cannot_be_used_is_named_in_a_line(
    noting: Path, modules: tuple[str, ...], problem: str
) -> None:
    (noting / "mute.py").write_text(f"{HEAD}SPEC = ContextSpec('mute', '', language={modules!r})\n")
    base = "from events.language.base import Command\nclass Erase(Command):\n"
    for name, text in {
        **{name: MODULES[name] for name in ("failing", "written", "missing")},
        "bare": f"{base}    context = 'mute'\n",
        "nameless": f"{base}    pass\n",
        "untyped": f"{base}    context = 'mute'\n    name = 1\n",
        "unending": f"from pydantic import Field\n{base}    context = 'mute'\n    name: str = Field(pattern='(')\n",
    }.items():
        (noting / "noting" / f"{name}.py").write_text(text)
    done = run("mute:SPEC", noting, "-m", "services.jobs")
    assert (done.returncode, len(done.stderr.splitlines()), done.stdout) == (1, 1, "")
    assert done.stderr.startswith(problem)
    assert "secret" not in done.stderr


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"language": "a.b"}, r"language is no tuple; write \('package.module',\)"),
        ({"kinds": "Note"}, r"kinds is no tuple; write \(\('Word', 'package.module:NAME'\),\)"),
        ({"kinds": ("Note", "a.b:NOTE")}, "kinds has what is no pair; write "),
        ({"streams": OUTPUT}, r"streams is no tuple; write \(TOPIC,\)"),
        ({"language": ("a.b", ".c")}, "language names no module by its full name: write package.module"),
        ({"language": ("",)}, "language names no module by its full name"),
        ({"language": ("a.class",)}, "language names no module by its full name"),
        ({"streams": ("logs.mute",)}, "streams has what is no StreamTopic"),
        *(
            ({"streams": (StreamTopic(name),)}, f"streams has the name '{name}': write <word>.mute")
            for name in (
                "events.mute",
                "audit.mute",
                "repairs",
                "a/b c",
                "logs.jobs",
                "logs",
                "logs.mute.more",
                "Logs.mute",
            )
        ),
        ({"streams": (StreamTopic("logs.mute"), StreamTopic("logs.mute"))}, "streams has a topic twice"),
        ({"streams": (StreamTopic("logs.mute", compression="gzip"),)}, "streams has a compression of logs.mute"),  # type: ignore[arg-type]
        ({"hosted": "apart"}, "hosted is neither 'alone' nor 'together'"),
        ({"service": "a-b"}, "service names no module by its full name"),
        ({"cli": "a/b.py"}, "cli names no module by its full name"),
    ],
)
def test_a_context_is_written_in_the_right_form(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ContextsError, match=f"the context 'mute': {problem}"):
        ContextSpec("mute", "", **given)


@pytest.mark.parametrize(
    "name", ["", "n", "Notes", "my notes", "my_notes", "1st", "n" * 17, "läufe", "class", "import", *sorted(RESERVED)]
)
def test_a_context_has_a_name_that_fits_everywhere(name: str) -> None:
    with pytest.raises(ContextsError, match="can't be called"):
        ContextSpec(name, "")


def test_modules_are_found_by_convention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import events.language

    monkeypatch.setattr(events.language, "__path__", [*events.language.__path__, str(tmp_path)])
    (tmp_path / "single.py").touch()
    (tmp_path / "parted").mkdir()
    for room in ("__init__", "events", "commands", "models", "moves"):
        (tmp_path / "parted" / f"{room}.py").touch()
    assert ContextSpec("single", "").modules() == ("events.language.single",)
    parted = tuple(f"events.language.parted.{room}" for room in ("models", "commands", "events"))
    assert ContextSpec("parted", "").modules() == parted
    assert ContextSpec("parted", "", language=("a.b",)).modules() == ("a.b",)
    with pytest.raises(ModuleNotFoundError, match=r"there is no module events.language.nowhere"):
        ContextSpec("nowhere", "").modules()


def test_every_context_has_a_language_and_a_service() -> None:
    for spec in contexts().values():
        kinds = {*command_types().values(), *event_types().values()}
        own = {kind.__module__ for kind in kinds if kind.context == spec.name}
        assert own
        assert own <= set(spec.modules())
        assert (find_spec(f"{spec.package}.__main__") is not None) == (spec.hosted == "alone")
        assert find_spec(f"{spec.package}.service") is not None
        assert find_spec(f"{spec.package}.projections") is not None


def test_contexts_that_are_together_share_a_process() -> None:
    specs = {
        "jobs": ContextSpec("jobs", "", hosted="alone"),
        "notes": ContextSpec("notes", ""),
        "mail": ContextSpec("mail", ""),
    }
    assert processes(specs) == {"jobs": ("jobs",), "services": ("notes", "mail")}
    hosts = {name: [host for host, names in processes().items() if name in names] for name in contexts()}
    assert hosts == {name: ["services" if spec.hosted == "together" else name] for name, spec in contexts().items()}


SERVICES = {
    "nothing": "",
    "broken": "import nowhere\n",
    "failing": "raise RuntimeError('secret')\n",
    "other": "SERVICE = 'secret'\n",
}
"""Why a context can't be run → its module `service`."""


@pytest.mark.parametrize(
    ("module", "problem"),
    [
        (
            None,
            "the context 'notes' can't be run: there is no module noting.service; give noting a module service with",
        ),
        ("nothing", "the context 'notes' can't be run: noting.service has no SERVICE; give noting a module service"),
        ("broken", "the context 'notes': No module named 'nowhere', which noting.service imports"),
        ("failing", "the context 'notes': noting.service can't be imported: RuntimeError; import it by itself"),
        ("other", "the context 'notes' can't be run: noting.service has no SERVICE"),
    ],
)
def test_a_service_that_cannot_be_run_is_named_in_a_line(noting: Path, module: str | None, problem: str) -> None:
    if module is not None:
        (noting / "noting" / "service.py").write_text(SERVICES[module])
    done = run("noting:NOTES", noting, "-m", "services", "notes")
    assert (done.returncode, len(done.stderr.splitlines()), done.stdout) == (1, 1, "")
    assert done.stderr.startswith(problem)
    assert "secret" not in done.stderr


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ([], "name the contexts to run: python -m services CONTEXT...; there are: jobs, scheduling, resources"),
        (["--help"], "name the contexts to run"),
        (["jobs", "notes"], "there is no context 'notes'; there are: jobs, scheduling, resources"),
        (["jobs", "scheduling", "jobs"], "'jobs' is named twice; name each context once"),
    ],
)
def test_contexts_to_run_are_named(noting: Path, names: list[str], problem: str) -> None:
    done = run("", noting, "-m", "services", *names)
    assert (done.returncode, len(done.stderr.splitlines()), done.stdout) == (1, 1, "")
    assert done.stderr.startswith(problem)


def test_what_agents_may_do_follows_the_contexts_that_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {
        "notes": ContextSpec("notes", "what people write", from_agents=True, to_agents=True),
        "told": ContextSpec("told", "what agents tell", from_agents=True),
        "mute": ContextSpec("mute", "nothing"),
    }
    monkeypatch.setattr(kafka_users, "contexts", lambda: told)
    names = {rule.name for rule in kafka_users.rules("") if rule.user == kafka_users.AGENT}
    assert names == {"commands.notes", "commands.told", "events.notes", "logs.jobs", "repairs"}


def test_agents_publish_to_the_contexts_that_take_commands_of_agents() -> None:
    taking = {kind.context for kind in command_types().values() if kind.by_agents}
    assert {spec.name for spec in contexts().values() if spec.from_agents} == taking
