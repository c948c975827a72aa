"""What people are told of alerts: whom, what, and how it is sent."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from events.language.deployments.alerts import AlertFinding, AlertSettings, DeploymentAlert
from events.language.deployments.steering import AlertFired, AlertResolved
from events.log.envelope import Meta, Position, Recorded
from events.notices import messages
from events.notices.channels import Undelivered, send
from events.notices.notifier import TRIES, pause_after
from events.notices.rows import NOTICES
from events.process.settings import Settings, SettingsError
from services.deployments.notices import put
from services.deployments.projections import DeploymentsProjection
from tests.rows import HeldRows

NOW = datetime(2026, 11, 28, 2, tzinfo=UTC)
SLOW = {"name": "slow", "type": "latency", "threshold": 500, "severity": "critical"}
CHANNELS = [
    {"name": "log", "kind": "log"},
    {"name": "team", "kind": "email", "target": "team@example.org"},
    {"name": "pager", "kind": "webhook", "target": "http://127.0.0.1:9/", "secret": "pager-key"},
]


def told(event: Any, alert: dict[str, Any]) -> Any:
    """The notice that an event leads to, of a deployment with that alert."""
    settings = AlertSettings.model_validate({"alerts": [alert], "channels": CHANNELS}).model_dump(mode="json")
    deployment = {"project": "local/default", "name": "digits", "spec": {"alerts": settings}}
    rows = HeldRows(DeploymentsProjection())
    meta = Meta("e-1", type(event).type_name(), "digits", NOW, "local/default", "forgelog")
    put(Recorded(event, meta, "digits", Position("events.deployments", 0, 7)), event, rows, deployment)
    return rows.get(NOTICES, ("e-1",))


def fired(alert: dict[str, Any]) -> AlertFired:
    finding = AlertFinding(alert=DeploymentAlert.model_validate(alert), windows=(600.0, 812.5))
    return AlertFired(deployment_id="digits", name="slow", finding=finding, summary="p95 is 812.5 ms")


def notice(**changes: Any) -> Any:
    return {**told(fired(SLOW), SLOW), **changes}


def test_an_alert_tells_the_channels_that_it_names_or_all() -> None:
    one = {**SLOW, "channels": ["team"]}
    assert [each["name"] for each in told(fired(one), one)["channels"]] == ["team"]
    found = told(fired(SLOW), SLOW)
    assert [each["name"] for each in found["channels"]] == ["log", "team", "pager"]
    assert (found["type"], found["severity"], found["details"]["value"]) == ("alert.fired", "critical", 812.5)
    assert found["summary"] == "p95 is 812.5 ms"


def test_the_end_of_an_alert_is_told_too() -> None:
    over = told(AlertResolved(deployment_id="digits", name="slow", value=120), {**SLOW, "channels": ["log"]})
    assert (over["type"], over["details"]["value"], over["severity"]) == ("alert.resolved", 120, "critical")
    assert over["summary"] == "alert slow is over: its last window has 120"
    assert [each["name"] for each in over["channels"]] == ["log"]
    gone = told(AlertResolved(deployment_id="digits", name="slow"), {**SLOW, "name": "other"})
    assert gone["summary"] == "alert slow is over: it is no longer set"


@pytest.mark.parametrize(
    ("secret", "key"),
    [("plain text", b"plain text"), ("whsec_" + base64.b64encode(b"k" * 24).decode(), b"k" * 24)],
)
def test_a_webhook_is_signed_as_its_receiver_checks_it(secret: str, key: bytes) -> None:
    content = messages.body(notice())
    headers = messages.headers(notice(), content, secret, 1_795_000_000)
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + content
    wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{wanted}"
    assert headers["webhook-id"] == "e-1"
    assert "webhook-signature" not in messages.headers(notice(), content, "", 1)


@asynccontextmanager
async def receiver(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Its URL, and what it got."""
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
        )
        got.append(head + await reader.readexactly(length))
        writer.write(answer + b"\r\ncontent-length: 0\r\nlocation: http://127.0.0.1:1/\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://localhost:{server.sockets[0].getsockname()[1]}/hook?to=me", got


def settings(folder: Path, **changes: Any) -> Settings:
    return Settings(alert_secrets=folder, **changes)


def webhook(url: str, **changes: Any) -> dict[str, Any]:
    return {"name": "pager", "kind": "webhook", "target": url, "secret": "", **changes}


async def test_a_webhook_gets_the_alert_with_its_id_and_signature(tmp_path: Path) -> None:
    (tmp_path / "pager-key").write_text("s3cret\n")
    async with receiver(b"HTTP/1.1 204 No Content") as (url, got):
        await send(settings(tmp_path, webhook_private=True), webhook(url, secret="pager-key"), notice())
    head, _, content = got[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /hook?to=me HTTP/1.1\r\n")
    assert b"\r\nhost: localhost:" in head.lower()
    assert b"webhook-signature: v1," in head
    assert b"s3cret" not in got[0]
    assert orjson.loads(content) == {
        "id": "e-1",
        "type": "alert.fired",
        "time": "2026-11-28T02:00:00Z",
        "project": "local/default",
        "deployment": "digits",
        "deployment_id": "digits",
        "alert": "slow",
        "severity": "critical",
        "value": 812.5,
        "summary": "p95 is 812.5 ms",
    }


async def test_a_private_address_is_not_asked_unless_that_is_allowed(tmp_path: Path) -> None:
    async with receiver(b"HTTP/1.1 200 OK") as (url, got):
        with pytest.raises(Undelivered, match="localhost is a private address; set FORGELOG_WEBHOOK_PRIVATE=true"):
            await send(settings(tmp_path), webhook(url), notice())
        for host in ("127.0.0.1", "[::ffff:127.0.0.1]", "10.1.2.3", "169.254.169.254", "[fe80::1]", "0.0.0.0"):
            with pytest.raises(Undelivered, match="private address"):
                await send(settings(tmp_path), webhook(f"http://{host}:9/"), notice())
    assert got == []


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.1 302 Found", "localhost answered 302: redirects are not followed"),
        (b"HTTP/1.1 500 Internal Server Error", "localhost answered 500"),
    ],
)
async def test_an_answer_that_is_none_is_told(answer: bytes, problem: str, tmp_path: Path) -> None:
    async with receiver(answer) as (url, got):
        with pytest.raises(Undelivered, match=problem):
            await send(settings(tmp_path, webhook_private=True), webhook(url), notice())
    assert len(got) == 1


async def test_a_secret_that_is_not_there_is_named_with_its_folder(tmp_path: Path) -> None:
    with pytest.raises(Undelivered, match=rf"secret pager-key can't be read \(No such file.*put it into {tmp_path}"):
        await send(settings(tmp_path), webhook("https://example.org", secret="pager-key"), notice())


async def test_a_log_has_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="forgelog.alerts"):
        await send(settings(tmp_path), CHANNELS[0], notice())
    assert caplog.messages == ["local/default/digits: alert slow fires (critical): p95 is 812.5 ms"]


async def test_a_mail_goes_by_the_server_of_the_settings(tmp_path: Path) -> None:
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            got.append(line)
            if line.upper().startswith(b"DATA"):
                writer.write(b"354 go on\r\n")
                got.append(await reader.readuntil(b"\r\n.\r\n"))
            if line.upper().startswith(b"QUIT"):
                writer.write(b"221 bye\r\n")
                break
            writer.write(b"250 fine\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        place = f"smtp+plain://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        told_by = settings(tmp_path, smtp=place, mail_from="forgelog@example.org")
        await send(told_by, CHANNELS[1], notice())
    text = b"".join(got).decode()
    assert "rcpt TO:<team@example.org>" in text
    assert "Subject: [forgelog] digits: alert slow fires" in text
    assert "p95 is 812.5 ms" in text


async def test_without_a_mail_server_the_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(Undelivered, match="FORGELOG_SMTP is not set"):
        await send(settings(tmp_path), CHANNELS[1], notice())


@pytest.mark.parametrize("value", ["mail.example.org", "smtp://me:password@host", "http://host", "smtp://"])
def test_a_mail_server_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(SettingsError, match="smtp"):
        Settings.load(smtp=value)


def test_tries_end_within_minutes() -> None:
    assert 200 < sum(pause_after(tries) for tries in range(1, TRIES)) < 300
