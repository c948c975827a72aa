"""What a command loads before it does anything: nobody shall wait for imports that the command does not need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from forgelog.cli import MODULES
from tests import PATIENCE

HEAVY = ("grpc", "google.protobuf", "pydantic", "pydantic_settings", "rich", "ruamel", "orjson", "aiokafka", "asyncpg")


def loaded(code: str) -> set[str]:
    """Which heavy packages a fresh interpreter has after `code`."""
    check = f"import sys\n{code}\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, timeout=PATIENCE)
    return set(done.stdout.splitlines()[-1].split()) if done.stdout.strip() else set()


def test_help_loads_nothing_heavy() -> None:
    code = "from forgelog.cli import make_app\nmake_app()(['--help'], standalone_mode=False)"
    assert loaded(code) == set()


@pytest.mark.parametrize("typed", [["--help"], ["-h"], [], ["--version"], ["--gateway", "there:1", "--help"]])
def test_the_list_of_commands_loads_no_module_of_them(typed: list[str]) -> None:
    """However many contexts there are."""
    code = f"""
import sys
sys.argv = ["forgelog", *{typed!r}]
from forgelog.cli import main
try:
    main()
except SystemExit:
    pass
print(*sorted(name for name in sys.modules if name.startswith("forgelog.cli.") or name == "asyncio"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert done.stdout.splitlines()[-1] == "forgelog.cli.commands"


def test_the_help_of_no_command_loads_anything_heavy() -> None:
    """One process for all commands: what none of them has loaded at the end, each does without."""
    commands = [name for names in MODULES.values() for name in names]
    assert len(commands) > 20
    code = f"""
import sys
from forgelog.cli import make_app
for command in {commands!r}:
    make_app(command)([command, "--help"], standalone_mode=False)
    print("HEAVY", command, *(name for name in {HEAVY!r} if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE)
    told = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("HEAVY ")]
    assert told == [[command] for command in commands]
    assert done.stdout.count("Usage: ") >= len(commands)


def test_a_query_needs_grpc_and_no_models() -> None:
    code = "from forgelog.client.aio import AsyncClient\nAsyncClient('127.0.0.1:1').address"
    assert loaded(code) == {"grpc", "google.protobuf"}


def test_a_client_loads_the_messages_of_the_contexts_that_it_asks() -> None:
    """However many contexts there are."""
    code = """
import sys
from events.language.contexts import contexts
from forgelog.client.aio import AsyncClient
client = AsyncClient("127.0.0.1:1")
def loaded():
    print(*(name for name in contexts() if f"forgelog_pb.{name}.v1.types_pb2" in sys.modules))
client.jobs
loaded()
client.tunings
loaded()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE)
    at_first, then = map(str.split, done.stdout.splitlines())
    assert (at_first, set(then) - set(at_first)) == (["jobs", "scheduling", "resources"], {"experiments"})


def test_a_manifest_of_jobs_loads_the_language_of_no_other_context() -> None:
    """However many contexts there are: `submit` and `run` are what people wait for most often."""
    code = """
import sys
from events.language.contexts import contexts
from forgelog.manifest import parse
parse("name: train\\ncommand: [echo]\\nrestart: on_failure\\nenv: {A: b}")
print(*(name for name in contexts() if f"events.language.{name}" in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert done.stdout.split() == ["jobs"]


def test_a_model_server_loads_neither_the_log_nor_a_database() -> None:
    """Each replica would start later for it, and be larger."""
    assert not loaded("import forgelog.serve.grpc_door, forgelog.serve.server") & {"aiokafka", "asyncpg"}


def test_an_agent_loads_neither_a_server_nor_a_database() -> None:
    """It has no tables and answers nobody: each node would start later for it, and keep it in memory."""
    assert not loaded("import services.resources.agent.__main__") & {"asyncpg", "grpc"}


def test_a_program_that_trains_loads_nothing_heavy(tmp_path: Path) -> None:
    """What sends its points is a process of its own; here it is not started."""
    assert (
        loaded(
            f"""
import os, forgelog, forgelog.tracking.beginning as beginning, forgelog.tracking.run
from forgelog.tracking.starting import Sender
beginning.sender = lambda *given: Sender(*given, starts=False)
forgelog.tracking.run.WAIT = 0
os.environ["FORGELOG_SPOOL"] = {str(tmp_path / "spool")!r}
with forgelog.run("digits", address="127.0.0.1:1", params={{"lr": 0.1}}) as run:
    run.log(loss=0.5)
"""
        )
        == set()
    )


def test_importing_forgelog_costs_nothing() -> None:
    assert loaded("import forgelog") == set()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("forgelog re", {"requeue", "replay", "rebuild", "repair", "reproduce"}),
        ("forgelog nodes co", {"cordon"}),
        ("forgelog queue d", {"delete"}),
        ("forgelog ps --status r", {"running"}),
    ],
)
def test_the_shell_completes_commands_of_all_modules(typed: str, offered: set[str]) -> None:
    words = typed.split()
    asked = {
        "_FORGELOG_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv = ['forgelog']; from forgelog.cli import main; main()"],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert set(done.stdout.split()) == offered, done.stderr
