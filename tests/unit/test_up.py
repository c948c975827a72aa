"""What `up` sees to before it starts anything: that the contexts can be used, and are those of a platform that runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from events.language.contexts import OWN, VARIABLE, ContextSpec, contexts
from events.process.identity import Identity
from events.process.keys import OWNER, ensure_key, key_path
from forgelog.embedded import roster
from forgelog.embedded.environment import changed_since_start, from_here, refuse_lost_log, refuse_other_server
from forgelog.embedded.layout import ChildState, Folder, PlatformState, Server, Wanted
from forgelog.embedded.platform import Platform
from forgelog.embedded.process import EmbeddedError
from forgelog.embedded.roster import GATEWAY
from tests import PATIENCE

ROOT = Path(__file__).parents[2]

SPEC = "from events.language.contexts import ContextSpec\nNOTES = ContextSpec('notes', '', language=('words',))\n"


def forgelog(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command, told a context of a module in this folder, on the platform of its folder ``data``."""
    return subprocess.run(
        [sys.executable, "-c", "from forgelog.cli import main; main()", *words, "--data", str(path / "data")],
        env={**os.environ, VARIABLE: "noting:NOTES", "PYTHONPATH": f"{path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("language", "problem"),
    [
        ("class (", "the language of the context 'notes' can't be imported: SyntaxError"),
        ("from events.language.base import Event\nclass Noted(Event): context = 'notes'\n", "aggregate is not set"),
    ],
)
def test_a_language_that_cannot_be_used_is_told_before_anything_starts(
    tmp_path: Path, language: str, problem: str
) -> None:
    (tmp_path / "noting.py").write_text(SPEC)
    (tmp_path / "words.py").write_text(language)
    data = tmp_path / "data"
    done = forgelog(tmp_path, "up")
    assert problem in done.stderr
    assert (done.returncode, len(done.stderr.splitlines()), data.exists()) == (EmbeddedError.exit_code, 1, False)


@pytest.mark.parametrize("had", [[], ["notes", "mail"]], ids=["more now", "others now"])
async def test_other_contexts_than_a_running_platforms_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, had: list[str]
) -> None:
    names = [spec.name for spec in OWN]
    folder = Folder(tmp_path)
    folder.make()
    folder.write_ports(dict.fromkeys([*names, *had, GATEWAY], 1))
    folder.write_state(PlatformState(Identity.of(os.getpid())))
    more = ContextSpec("notes", "what people write")
    monkeypatch.setattr(roster, "contexts", lambda: {**contexts(), more.name: more})
    with pytest.raises(EmbeddedError) as refused:
        await Platform(tmp_path).up()
    assert str(refused.value) == (
        f"the running platform has the contexts {', '.join([*names, *had])}; here {VARIABLE} makes them "
        f"{', '.join([*names, 'notes'])}: forgelog down, then up, or set the variable as it was"
    )
    assert folder.read_wanted() is None


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({}, "FORGELOG_CONTEXTS: entry 1 names a module that can't be found"),
        ({"noting.py": SPEC, "words.py": "class ("}, "the language of the context 'notes' can't be imported"),
    ],
    ids=["no module", "no language"],
)
def test_a_platform_is_looked_at_and_stopped_where_its_contexts_cannot_be_used(
    tmp_path: Path, files: dict[str, str], problem: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    folder = Folder(tmp_path / "data")
    folder.make()
    ensure_key(key_path(folder.path, OWNER))
    folder.write_wanted(Wanted(Server("given", "127.0.0.1:1"), Server("given", "postgresql://127.0.0.1:1/db")))
    agent = subprocess.Popen(["sleep", "600"])
    try:
        here = Identity.of(agent.pid)
        child = ChildState("agent-0", "agent", "ready", pid=here.pid, started=here.started, address="n0")
        folder.write_state(PlatformState(Identity(here.pid, "long ago"), gateway="127.0.0.1:1", children=[child]))
        shown = forgelog(tmp_path, "status", "--output", "json")
        assert (shown.returncode, json.loads(shown.stdout)["state"]) == (3, "unsupervised"), shown.stderr
        assert problem in shown.stderr
        done = forgelog(tmp_path, "down")
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert done.stderr.splitlines()[-1].startswith("stopped; ")
        assert agent.wait(10) == -signal.SIGTERM
    finally:
        agent.kill()
        agent.wait()


def test_the_version_is_told_where_the_contexts_cannot_be_used() -> None:
    code = "from forgelog.cli import main; main()"
    environment = {**os.environ, VARIABLE: "nowhere:X"}
    done = subprocess.run(
        [sys.executable, "-c", code, "--version"], env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout.split()[0], done.stderr) == (0, "forgelog", "")


def wait_for_environment(pid: int) -> bool:
    """The kernel tells of the program before its variables."""
    began = time.monotonic()
    while not psutil.Process(pid).environ():
        if time.monotonic() - began > PATIENCE:
            return False
    return True


def test_variables_are_named_that_differ_from_those_a_running_platform_was_started_with() -> None:
    there = {
        "FORGELOG_NODE_CPUS": "4",
        "FORGELOG_SCHEMA": "forgelog",
        "FORGELOG_SMTP": "smtp://mail.example.org",
        "FORGELOG_DATA": "/one",
        "FORGELOG_LOG_LEVEL": "",
    }
    supervisor = subprocess.Popen(["sleep", "600"], env={**os.environ, **there})
    try:
        identity = Identity.of(supervisor.pid)
        here = {**os.environ, **there}
        assert wait_for_environment(supervisor.pid)
        assert changed_since_start(identity, here) == []
        others = {
            "FORGELOG_NODE_CPUS": "8",
            "FORGELOG_ROUTER_LISTEN": "0.0.0.0:7080",
            "FORGELOG_WEBHOOK_PRIVATE": "true",
        }
        no_matter = {
            "FORGELOG_TOKEN": "secret",
            "FORGELOG_DATA": "/two",
            "FORGELOG_EXPERIMENT": "digits",
            "NODE_X": "1",
        }
        del here["FORGELOG_SMTP"]
        del here["FORGELOG_LOG_LEVEL"]
        assert changed_since_start(identity, {**here, **others, **no_matter}) == [
            "FORGELOG_NODE_CPUS",
            "FORGELOG_ROUTER_LISTEN",
            "FORGELOG_SMTP",
            "FORGELOG_WEBHOOK_PRIVATE",
        ]
    finally:
        supervisor.kill()
        supervisor.wait()
    assert changed_since_start(identity, {"FORGELOG_NODE_CPUS": "8"}) == []


def test_relative_paths_count_from_the_folder_of_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children work in the data folder."""
    monkeypatch.chdir(tmp_path)
    given = {"FORGELOG_ROUTER_CERT": "tls.crt", "FORGELOG_ROUTER_KEY": "/keys/tls.key", "FORGELOG_ENVOY": "~/envoy"}
    others = {"FORGELOG_REPLICAS_KEY_FILE": "", "FORGELOG_POOL": "default", "HOME_OF": "x"}
    assert from_here({**given, **others}) == {
        "FORGELOG_ROUTER_CERT": str(tmp_path / "tls.crt"),
        "FORGELOG_ROUTER_KEY": "/keys/tls.key",
        "FORGELOG_ENVOY": str(Path.home() / "envoy"),
        **others,
    }


def test_a_supervisor_is_told_whole_paths_and_a_later_up_with_the_same_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = list[dict[str, str]]()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FORGELOG_ROUTER_CERT", "tls.crt")
    here = Platform(tmp_path / "data")
    here.folder.make()
    with monkeypatch.context() as patched:
        patched.setattr("forgelog.embedded.platform.subprocess.Popen", lambda _argv, **more: told.append(more["env"]))
        here._spawn()
    assert told[0]["FORGELOG_ROUTER_CERT"] == str(tmp_path / "tls.crt")
    with subprocess.Popen(["sleep", "600"], env=told[0]) as supervisor:
        try:
            assert wait_for_environment(supervisor.pid)
            identity = Identity.of(supervisor.pid)
            assert changed_since_start(identity, os.environ) == []
            (tmp_path / "other").mkdir()
            monkeypatch.chdir(tmp_path / "other")
            assert changed_since_start(identity, os.environ) == ["FORGELOG_ROUTER_CERT"]
        finally:
            supervisor.kill()


@pytest.mark.parametrize(
    ("listen", "problem"),
    [
        ("127.0.0.1:notaport", "is not host:port"),
        ("127.0.0.1:0", "has port 0"),
        ("203.0.113.7:7080", "names an address that this machine does not have"),
        ("127.0.0.1:{}", "another program listens on its port"),
    ],
)
async def test_a_routers_address_is_looked_at_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listen: str, problem: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("FORGELOG_ROUTER_LISTEN", listen.format(server.getsockname()[1]))
        with pytest.raises(EmbeddedError, match=f"FORGELOG_ROUTER_LISTEN: {problem}"):
            await Platform(tmp_path / "data").up()
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("variable", ["FORGELOG_KAFKA", "FORGELOG_POSTGRES"])
async def test_a_variable_does_not_take_a_platform_from_the_servers_that_its_data_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    folder = Folder(tmp_path)
    folder.make()
    wanted = Wanted(Server("embedded"), Server("embedded"))
    folder.write_wanted(wanted)
    monkeypatch.delenv("FORGELOG_KAFKA", raising=False)
    monkeypatch.setenv(variable, "127.0.0.1:1" if variable == "FORGELOG_KAFKA" else "postgresql://127.0.0.1:1/db")
    with pytest.raises(EmbeddedError, match=f"is in the embedded .*; with the one that {variable} names .*seem lost"):
        await Platform(tmp_path).up()
    assert folder.read_wanted() == wanted


def restored(folder: Folder, *, table: str = "16384", log: bool = False, wanted: bool = True) -> None:
    """A folder as a backup may leave it: with tables, with or without the log that they were made from."""
    folder.make()
    if wanted:
        folder.write_wanted(Wanted(Server("embedded"), Server("embedded")))
    base = folder.path / "postgres" / "data" / "base" / "5"
    base.mkdir(parents=True)
    (base / table).touch()
    data = folder.path / "kafka" / "data"
    data.mkdir(parents=True)
    if log:
        (data / "meta.properties").touch()


def names_below(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("lost_log", [None, "stop"])
async def test_no_empty_log_is_begun_beside_tables_of_one_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost_log: str | None, wanted: bool
) -> None:
    folder = Folder(tmp_path)
    restored(folder, wanted=wanted)
    for name in ("KAFKA", "POSTGRES", "LOST_LOG"):
        monkeypatch.delenv(f"FORGELOG_{name}", raising=False)
    if lost_log:
        monkeypatch.setenv("FORGELOG_LOST_LOG", lost_log)
    before = names_below(tmp_path)
    with pytest.raises(EmbeddedError) as refused:
        await Platform(tmp_path).up()
    told = str(refused.value)
    assert told.startswith(f"the log of {tmp_path} is missing: {tmp_path / 'kafka' / 'data'} is not there")
    assert f"Restore {tmp_path / 'kafka'} from the backup" in told
    assert f"leave {tmp_path / 'postgres'} where it is" in told
    assert "FORGELOG_LOST_LOG=anew forgelog up" in told
    assert names_below(tmp_path) == before


@pytest.mark.parametrize(
    ("files", "environment"),
    [
        ({"log": True}, {}),
        ({"table": "1259"}, {}),  # Postgres' own: no table was ever made, as when Java was missing at the first `up`
        ({"table": "16384_fsm"}, {}),
        ({}, {"FORGELOG_LOST_LOG": "anew"}),
        ({"wanted": False}, {"FORGELOG_KAFKA": "127.0.0.1:1"}),
    ],
    ids=["the log is there", "no tables", "no table's file", "lost for good", "the log is elsewhere"],
)
def test_a_log_is_not_missed_where_none_was_lost_or_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, Any], environment: dict[str, str]
) -> None:
    for name in ("KAFKA", "LOST_LOG"):
        monkeypatch.delenv(f"FORGELOG_{name}", raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    restored(Folder(tmp_path), **files)
    refuse_lost_log(Folder(tmp_path), Platform(tmp_path).settings)


def test_a_log_without_its_tables_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAFKA", "LOST_LOG"):
        monkeypatch.delenv(f"FORGELOG_{name}", raising=False)
    restored(Folder(tmp_path), log=True)
    shutil.rmtree(tmp_path / "postgres")
    refuse_lost_log(Folder(tmp_path), Platform(tmp_path).settings)


def test_a_running_platform_keeps_the_servers_that_were_given_to_it(tmp_path: Path) -> None:
    one, other = Server("given", "127.0.0.1:1"), Server("given", "127.0.0.1:2")
    refuse_other_server(tmp_path, "FORGELOG_KAFKA", None, one, running=False)
    refuse_other_server(tmp_path, "FORGELOG_KAFKA", one, other, running=False)  # it is found elsewhere now
    refuse_other_server(tmp_path, "FORGELOG_KAFKA", one, one, running=True)
    bare, full = (Server("given", f"postgresql://{who}127.0.0.1:1/db") for who in ("a@", "a:secret@"))
    refuse_other_server(tmp_path, "FORGELOG_POSTGRES", bare, full, running=True)
    with pytest.raises(EmbeddedError, match="uses another kafka than FORGELOG_KAFKA names: forgelog down, then up"):
        refuse_other_server(tmp_path, "FORGELOG_KAFKA", one, other, running=True)
