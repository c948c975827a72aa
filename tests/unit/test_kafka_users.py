"""The broker's users: their files, and what each may do."""

from __future__ import annotations

import hashlib
import hmac
import stat
from pathlib import Path

import pytest

from events.log import topics
from forgelog.embedded.kafka_users import AGENT, PLATFORM, PRODUCER, Rule, Users, _credential, rules
from forgelog.embedded.process import EmbeddedError

READ, WRITE, TOPIC, GROUP = 3, 4, 2, 3


def allowed(user: str, operation: int, prefix: str = "") -> set[str]:
    """The topics."""
    return {
        rule.name
        for rule in rules(prefix)
        if (rule.user, rule.kind, rule.operation, rule.deny) == (user, TOPIC, operation, False)
    }


def test_a_producer_publishes_commands_and_points_and_nothing_else() -> None:
    assert allowed(PRODUCER, WRITE) == {topics.commands(context) for context in topics.CONTEXTS} | {
        "points.experiments"
    }


def test_a_producer_reads_all_but_commands() -> None:
    assert allowed(PRODUCER, READ) == {name for name in topics.wanted(1) if not name.startswith("commands.")}


def test_a_producer_does_not_join_the_writers_groups() -> None:
    denied = {rule.name for rule in rules("p.") if rule.kind == GROUP and rule.deny}
    assert denied == {f"p.{context}.writer" for context in topics.CONTEXTS}


def test_an_agent_reports_ships_output_and_reads_of_its_nodes() -> None:
    assert allowed(AGENT, WRITE) == {"commands.deployments", "commands.jobs", "commands.resources", "logs.jobs"}
    assert allowed(AGENT, READ) == {"events.jobs", "events.resources", "repairs"}


def test_nobody_but_the_platform_writes_events_heads_and_repairs() -> None:
    for user in (AGENT, PRODUCER):
        assert not [name for name in allowed(user, WRITE) if name.startswith(("events.", "audit.", "repairs", "dead"))]
    assert PLATFORM not in {rule.user for rule in rules("")}


def test_rules_are_for_one_platforms_topics() -> None:
    assert allowed(AGENT, WRITE, "mine.") == {
        "mine.commands.deployments",
        "mine.commands.jobs",
        "mine.commands.resources",
        "mine.logs.jobs",
    }
    everything = [rule for rule in rules("mine.") if not rule.name.startswith("mine.")]
    assert everything == [Rule(PRODUCER, GROUP, "*", READ), Rule(PRODUCER, 5, "*", WRITE)]


def test_users_are_made_once_and_follow_the_broker(tmp_path: Path) -> None:
    users = Users(tmp_path / "keys")
    users.write("127.0.0.1:1")
    before = {user: users.password(user) for user in (PLATFORM, AGENT, PRODUCER)}
    assert len(set(before.values())) == 3
    users.write("127.0.0.1:2")
    assert {user: users.password(user) for user in before} == before
    for user in before:
        assert stat.S_IMODE(users.file(user).stat().st_mode) == 0o600
        assert users.file(user).read_text().startswith("bootstrap.servers=127.0.0.1:2\n")
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    users = Users(tmp_path / "keys")
    users.write("127.0.0.1:1")
    users.file(AGENT).write_text("sasl.username=agent\n")
    with pytest.raises(EmbeddedError, match=r"kafka-agent.conf has no password"):
        users.write("127.0.0.1:1")


def test_the_broker_is_told_no_password_but_what_proves_it() -> None:
    """RFC 5802: a client proves it by a key that is derived from the same salted password."""
    user, mechanism, iterations, salt, salted, _ = _credential("agent", "secret")
    assert (user, mechanism, iterations) == ("agent", 2, 4096)
    assert salted == hashlib.pbkdf2_hmac("sha512", b"secret", salt, iterations)
    assert _credential("agent", "secret")[3] != salt
    assert hmac.digest(salted, b"Client Key", "sha512")
