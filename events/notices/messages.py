"""What people are told, by each kind of channel. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from email.message import EmailMessage
from typing import Any

import orjson

from events.process.instants import instant

Notice = Mapping[str, Any]
"""A row of `rows.NOTICES`."""

_PREFIX = "whsec_"


def line(notice: Notice) -> str:
    """One line, for a log."""
    about = f"{notice['project']}/{notice['name']}: {notice['title']}"
    return f"{about} ({notice['severity']}): {notice['summary']}"


def body(notice: Notice) -> bytes:
    """The JSON of a webhook."""
    at: datetime = notice["happened_at"]
    about = notice["aggregate"]
    return orjson.dumps(
        {
            "id": notice["notice_id"],
            "type": notice["type"],
            "time": instant(at),
            "project": notice["project"],
            about: notice["name"],
            f"{about}_id": notice["subject"],
            **notice["details"],
            "severity": notice["severity"],
            "summary": notice["summary"],
        }
    )


def headers(notice: Notice, content: bytes, secret: str, now: int) -> dict[str, str]:
    """Headers of a webhook by https://www.standardwebhooks.com: its id, when it was sent, and its signature (HMAC with
    SHA-256) where there is a secret. `now`: POSIX seconds."""
    id = str(notice["notice_id"])
    found = {"content-type": "application/json", "webhook-id": id, "webhook-timestamp": str(now)}
    if secret:
        signed = b".".join((id.encode(), str(now).encode(), content))
        digest = hmac.digest(_key(secret), signed, hashlib.sha256)
        found["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return found


def _key(secret: str) -> bytes:
    """``whsec_`` and base64, as the standard has it; or any text."""
    if secret.startswith(_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except ValueError:
            pass  # a text that begins so
    return secret.encode()


def mail(notice: Notice, sender: str, target: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = sender
    message["To"] = target
    message["Subject"] = f"[forgelog] {notice['name']}: {notice['title']}"
    message["Date"] = notice["happened_at"]
    message["Message-ID"] = f"<{notice['notice_id']}@forgelog>"
    lines = {
        "project": notice["project"],
        notice["aggregate"]: notice["name"],
        "severity": notice["severity"],
        "since": instant(notice["happened_at"]),
    }
    said = "".join(f"{name + ':':<12}{value}\n" for name, value in lines.items())
    more = f"\n{notice['command']}\n" if notice["command"] else ""
    message.set_content(f"{notice['summary']}\n\n{said}{more}")
    return message
