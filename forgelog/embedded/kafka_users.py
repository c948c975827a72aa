"""Who may do what at a broker that the platform runs: its users, their files, and Kafka's rules (ACLs) for them.

| user | is | may |
|---|---|---|
| `forgelog` | services, gateway, the command line | everything |
| `agent` | node agents | report (commands), ship output, read what concerns nodes |
| `producer` | programs that you write, kcat | publish commands and points, read all but commands; write nothing else |

`forgelog` comes in by PLAIN: the broker knows it from its own configuration, before it knows anything else. `producer`
may do so too, since librdkafka before 2.6.1 (Debian's kcat) writes its SCRAM nonce twice, which Kafka 4 refuses. All
but `forgelog` may come in by SCRAM-SHA-512, which the broker keeps in its log, as their rules. These are said again
after every start; what is there already stays as it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.protocol.admin import CreateAclsRequest_v1, DescribeAclsRequest_v1
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactBytes, CompactString, Int8, Int16, Int32, Schema, TaggedFields

from events.language.contexts import contexts
from events.log import topics
from events.log.access import PASSWORD, client_options, parse, written
from events.process.keys import KeyFileProblem, read_private
from events.process.settings import Settings
from forgelog.embedded.process import EmbeddedError, write_atomically

PLATFORM, AGENT, PRODUCER = "forgelog", "agent", "producer"
PLAIN, SCRAM = "PLAIN", "SCRAM-SHA-512"

_MECHANISMS = {PLATFORM: PLAIN, AGENT: SCRAM, PRODUCER: PLAIN}
"""As their files say."""

# Kafka's numbers (org.apache.kafka.common.resource.ResourceType, PatternType; ...common.acl.AclOperation,
# AclPermissionType; ScramMechanism of KIP-554).
_TOPIC, _GROUP, _TRANSACTION = 2, 3, 5
_ANY, _LITERAL = 1, 3
_READ, _WRITE = 3, 4
_DENY, _ALLOW = 2, 3
_SCRAM_SHA_512 = 2
_ITERATIONS = 4096
"""The least that Kafka takes. The passwords have 192 random bits: more would only make each connection slower."""
_TAKEN_SECONDS = 60.0
"""Longest wait until the broker acts on rules that it has taken, in seconds."""


@dataclass(frozen=True, slots=True)
class Rule:
    user: str
    kind: int
    name: str
    """``*``: all."""
    operation: int
    deny: bool = False


def rules(prefix: str) -> list[Rule]:
    """Of all users, for a platform whose topics have this prefix. Who may read or write something may describe it."""
    agent = [
        *(Rule(AGENT, _TOPIC, topics.commands(name), _WRITE) for name, spec in contexts().items() if spec.from_agents),
        *(Rule(AGENT, _TOPIC, stream.name, _WRITE) for stream in topics.STREAMS if stream.from_agents),
        *(Rule(AGENT, _TOPIC, topics.events(name), _READ) for name, spec in contexts().items() if spec.to_agents),
        Rule(AGENT, _TOPIC, topics.REPAIRS, _READ),
    ]
    producer = [
        *(Rule(PRODUCER, _TOPIC, topics.commands(context), _WRITE) for context in topics.CONTEXTS),
        *(Rule(PRODUCER, _TOPIC, stream.name, _WRITE) for stream in topics.STREAMS if stream.from_producers),
        *(Rule(PRODUCER, _TOPIC, name, _READ) for name in topics.wanted(1) if not name.startswith("commands.")),
        # Not in the writers' own groups: it would be given partitions of commands, and they would stand still.
        *(Rule(PRODUCER, _GROUP, f"{context}.writer", _READ, deny=True) for context in topics.CONTEXTS),
    ]
    own = [replace(rule, name=prefix + rule.name) for rule in (*agent, *producer)]
    return [*own, Rule(PRODUCER, _GROUP, "*", _READ), Rule(PRODUCER, _TRANSACTION, "*", _WRITE)]


class Users:
    """The files of a broker's users in the folder `keys`: ``kafka-<user>.conf``, as `kcat -F` reads them."""

    def __init__(self, keys: Path) -> None:
        self._keys = keys

    def file(self, user: str) -> Path:
        return self._keys / f"kafka-{user}.conf"

    def password(self, user: str) -> str:
        """Raises EmbeddedError."""
        try:
            return parse(read_private(self.file(user)))[PASSWORD]
        except (KeyFileProblem, ValueError) as problem:
            raise EmbeddedError(str(problem)) from None
        except KeyError:
            raise EmbeddedError(
                f"{self.file(user)} has no password; remove it, and `forgelog up` makes another"
            ) from None

    def write(self, servers: str) -> None:
        """Make the users, or tell where the broker is now. Raises EmbeddedError."""
        self._keys.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._keys.chmod(0o700)
        for user, mechanism in _MECHANISMS.items():
            known = self.file(user).exists()
            text = written(servers, user, self.password(user) if known else secrets.token_urlsafe(24), mechanism)
            if not known or read_private(self.file(user)) != text:
                write_atomically(self.file(user), text, mode=0o600)

    def jaas(self) -> str:
        """How the broker itself comes in, and who may by PLAIN: for its configuration."""
        users = [f'user_{user}="{self.password(user)}"' for user, how in _MECHANISMS.items() if how == PLAIN]
        own = f'username="{PLATFORM}" password="{self.password(PLATFORM)}"'
        return f"org.apache.kafka.common.security.plain.PlainLoginModule required {own} {' '.join(users)};"

    async def admit(self, settings: Settings) -> None:
        """Tell the broker of all users but the platform's own, and of what they may do; see `rules`. `settings`: of the
        platform's own user. Raises KafkaError and OSError, and EmbeddedError for what the broker refuses."""
        upserts = [_credential(user, self.password(user)) for user in _MECHANISMS if user != PLATFORM]
        await admit(settings, upserts)


async def admit(settings: Settings, credentials: Sequence[Any] = ()) -> None:
    """Tell the broker the rules for a platform with the prefix of `settings`, and users' credentials. At the end they
    are in force. Raises as `Users.admit`."""
    creations = [_creation(rule) for rule in rules(settings.prefix)]
    client = AIOKafkaClient(**client_options(settings), client_id="forgelog-users")
    try:
        await client.bootstrap()
        node = client.get_random_node()
        if credentials:
            answer: Any = await client.send(node, _AlterScram(credentials))
            _check((code, text) for _, code, text, _ in answer.results)
        answer = await client.send(node, _CreateAcls(creations))
        _check(answer.creation_responses)
        await _in_force(client, node, set(creations))
    finally:
        await client.close()


async def _in_force(client: AIOKafkaClient, node: int, creations: set[tuple[Any, ...]]) -> None:
    """Wait until the broker has rules that its controller has taken: it hears of them a moment later.

    Until then it shows a user no topics, and programs take those for empty. Credentials were said before the rules, so
    the broker has those too.
    """
    try:
        async with asyncio.timeout(_TAKEN_SECONDS):
            while True:
                answer: Any = await client.send(node, _DescribeAcls())
                _check([(answer.error_code, answer.error_message)])
                known = {(*resource[:3], *rule) for resource in answer.resources for rule in resource[3]}
                if creations <= known:
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise EmbeddedError(f"the broker has not acted on its users' rules in {_TAKEN_SECONDS:g} s") from None


def _check(results: Iterable[tuple[int, str | None]]) -> None:
    for code, text in results:
        if code:
            raise EmbeddedError(f"the broker takes no users or rules: {for_code(code).__name__} {text or ''}")


def _creation(rule: Rule) -> tuple[int, str, int, str, str, int, int]:
    permission = _DENY if rule.deny else _ALLOW
    return rule.kind, rule.name, _LITERAL, f"User:{rule.user}", "*", rule.operation, permission


def _credential(user: str, password: str) -> tuple[Any, ...]:
    """A user's password as the broker keeps it (RFC 5802): salted, so that it can't be had back."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
    return user, _SCRAM_SHA_512, _ITERATIONS, salt, salted, {}


class _CreateAcls(Request[CreateAclsRequest_v1]):  # type: ignore[misc]
    """Many at once; aiokafka's own takes one."""

    API_KEY = 30

    def __init__(self, creations: Sequence[tuple[Any, ...]]) -> None:
        self._creations = list(creations)

    def build(self, request_struct_class: type[CreateAclsRequest_v1]) -> CreateAclsRequest_v1:
        return request_struct_class(self._creations)


class _DescribeAcls(Request[DescribeAclsRequest_v1]):  # type: ignore[misc]
    """All rules."""

    API_KEY = 29

    def build(self, request_struct_class: type[DescribeAclsRequest_v1]) -> DescribeAclsRequest_v1:
        return request_struct_class(_ANY, None, _ANY, None, None, _ANY, _ANY)


class _AlterScramResponse(Response):  # type: ignore[misc]
    API_KEY: ClassVar[int] = 51
    API_VERSION: ClassVar[int] = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            CompactArray(
                ("user", CompactString("utf-8")),
                ("error_code", Int16),
                ("error_message", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _AlterScramStruct(RequestStruct):  # type: ignore[misc]
    """AlterUserScramCredentials, KIP-554; aiokafka has none."""

    API_KEY = 51
    API_VERSION = 0
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _AlterScramResponse
    SCHEMA = Schema(
        (
            "deletions",
            CompactArray(("name", CompactString("utf-8")), ("mechanism", Int8), ("tags", TaggedFields)),
        ),
        (
            "upsertions",
            CompactArray(
                ("name", CompactString("utf-8")),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _AlterScram(Request[_AlterScramStruct]):  # type: ignore[misc]
    API_KEY = 51

    def __init__(self, upserts: Sequence[tuple[Any, ...]]) -> None:
        self._upserts = list(upserts)

    def build(self, request_struct_class: type[_AlterScramStruct]) -> _AlterScramStruct:
        return request_struct_class([], self._upserts, {})
