"""What people are told of an alert, by each kind of channel. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from email.message import EmailMessage
from typing import Any

import orjson

Notice = Mapping[str, Any]
"""A row of `rows.NOTICES`."""

_PREFIX = "whsec_"


def line(notice: Notice) -> str:
    """One line, for a log."""
    return f"{notice['project']}/{notice['deployment']}: {_state(notice)} ({notice['severity']}): {notice['summary']}"


def body(notice: Notice) -> bytes:
    """The JSON of a webhook."""
    at: datetime = notice["happened_at"]
    return orjson.dumps(
        {
            "id": notice["notice_id"],
            "type": "alert.fired" if notice["fired"] else "alert.resolved",
            "time": at.isoformat(),
            "project": notice["project"],
            "deployment": notice["deployment"],
            "deployment_id": notice["deployment_id"],
            "alert": notice["alert"],
            "severity": notice["severity"],
            "value": notice["value"],
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
    message["Subject"] = f"[forgelog] {notice['deployment']}: {_state(notice)}"
    message["Date"] = notice["happened_at"]
    message["Message-ID"] = f"<{notice['notice_id']}@forgelog>"
    message.set_content(
        f"{notice['summary']}\n\n"
        f"project:    {notice['project']}\n"
        f"deployment: {notice['deployment']}\n"
        f"severity:   {notice['severity']}\n"
        f"since:      {notice['happened_at'].isoformat()}\n\n"
        f"forgelog why {notice['deployment']}\n"
    )
    return message


def _state(notice: Notice) -> str:
    return f"alert {notice['alert']} {'fires' if notice['fired'] else 'is over'}"
