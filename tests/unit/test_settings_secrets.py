"""A secret that stands in a variable, where it belongs or by mistake, is in no error and in no process's log."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from events.process.channels import VARIABLE as KEEPALIVE
from events.process.channels import keepalive_seconds
from events.process.settings import PREFIX, Settings, SettingsError
from forgelog.errors import InvalidInput
from forgelog.where import checked
from services.resources.agent import config
from services.resources.service import LOST_VARIABLE, lost_after

SECRET = "p1anted-s3cret"
VALUES = (
    SECRET,
    f"{SECRET} and more",
    f"{SECRET}=x,y",
    f"x={SECRET} {SECRET}",
    f"me:{SECRET}@host:9092",
    f"host:9092,{SECRET}@host:9092",
    f"http://me:{SECRET}@host:4317",
    f"https://{SECRET}@host",
    f"mysql://me:{SECRET}@host/db",
    f"postgresql://me:1/{SECRET}@host:5432/db",
    f"postgresql://me:1#{SECRET}@host:5432/db",
    f"postgresql://me:1?{SECRET}@host:5432/db",
    f"postgresql://me:x@host:{SECRET}/db",
    f"postgresql://[{SECRET}",
    f"-1{SECRET}",
)
FIELDS = sorted(PREFIX + name.rstrip("_").upper() for name in Settings.model_fields)
FREE = {
    "FORGELOG_ALERT_SECRETS",
    "FORGELOG_DATA",
    "FORGELOG_INSTANCE",
    "FORGELOG_KAFKA_CONFIG",
    "FORGELOG_MAIL_FROM",
    "FORGELOG_OPENLINEAGE_SECRET",
    "FORGELOG_OWNER_KEY_FILE",
    "FORGELOG_POOL",
    "FORGELOG_REPLICAS_KEY_FILE",
    "FORGELOG_SERVICES_KEY_FILE",
    "FORGELOG_SMTP_SECRET",
}
"""What takes any text."""


def told(error: BaseException) -> str:
    """All that an error says, also to somebody who prints where it came from."""
    return f"{error}\n{error!r}\n" + "".join(traceback.format_exception(error))


def refusal(load: Callable[[], object]) -> list[str]:
    """All that is said, if it is refused."""
    try:
        load()
    except SettingsError as error:
        return [told(error)]
    return []


@pytest.mark.parametrize("variable", FIELDS)
def test_a_setting_that_can_t_be_used_is_named_and_not_shown(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FIELDS:
        monkeypatch.delenv(name, raising=False)
    refusals = []
    for value in VALUES:
        monkeypatch.setenv(variable, value)
        refusals += refusal(Settings.load)
    assert all(variable in text and SECRET not in text for text in refusals)
    assert refusals or variable in FREE


class Asked(dict[str, str]):
    """An environment that knows what was asked of it."""

    def __init__(self, *given: tuple[str, str]) -> None:
        super().__init__(given)
        self.names: set[str] = set()

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        self.names.add(name)
        return super().get(name, default)


def agent_variables() -> list[str]:
    asked = Asked()
    config.load(Settings(), asked)
    return sorted(asked.names)


@pytest.mark.parametrize("variable", agent_variables())
def test_nor_is_one_of_an_agent(variable: str) -> None:
    for value in VALUES:
        for text in refusal(partial(config.load, Settings(), Asked((variable, value)))):
            assert variable in text
            assert SECRET not in text


@pytest.mark.parametrize("value", VALUES)
def test_nor_is_what_is_no_address_or_no_number(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput) as address:
        checked(value)
    with pytest.raises(SettingsError, match=LOST_VARIABLE) as seconds:
        lost_after({LOST_VARIABLE: value})
    monkeypatch.setenv(KEEPALIVE, value)
    with pytest.raises(ValueError, match=KEEPALIVE) as quiet:
        keepalive_seconds()
    assert SECRET not in told(address.value) + told(seconds.value) + told(quiet.value)


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://me:p%2Fw@host:5432/db",
        "postgres://me@host/db?passfile=/a/b%40c",
        "postgresql:///db?host=/run/postgresql",
        "postgresql://me:pw@[::1]:5432,other:5433/db?target_session_attrs=primary",
        "postgresql://me:a@b@host/db",
    ],
)
def test_a_database_s_address_of_any_form_is_taken(dsn: str) -> None:
    assert Settings.load(postgres=dsn).postgres_required == dsn


async def printed(module: str, until: str, **environment: str) -> str:
    """What a process prints, up to a line with these words, or to its end."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        env={**inherited, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    lines = []
    try:
        async with asyncio.timeout(60):
            async for line in process.stdout:
                lines.append(line.decode())
                if until and re.search(until, lines[-1]):
                    break
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    return "".join(lines)


async def test_a_service_s_log_has_no_word_of_it(tmp_path: Path) -> None:
    """Neither when it is refused at once, nor when the servers that it names are away."""
    key = {"FORGELOG_DATA": str(tmp_path), "FORGELOG_KAFKA": "127.0.0.1:1", "FORGELOG_LOG_LEVEL": "DEBUG"}
    refused, away, none = await asyncio.gather(
        printed("services.jobs", "", **key, FORGELOG_POSTGRES=f"postgresql://me:1/{SECRET}@127.0.0.1:1/db"),
        printed(
            "services.jobs", "wait for the data", **key, FORGELOG_POSTGRES=f"postgresql://me:{SECRET}@127.0.0.1:1/db"
        ),
        printed("services.gateway", "", **key, FORGELOG_OTLP_ENDPOINT=f"http://me:{SECRET}@127.0.0.1:1"),
    )
    assert "jobs: FORGELOG_POSTGRES" in refused
    assert "snapshots wait for the database" in away
    assert "gateway: FORGELOG_OTLP_ENDPOINT" in none
    assert SECRET not in refused + away + none
