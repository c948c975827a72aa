"""Sends a notice on one channel. Raises Undelivered, which says why in a text without secrets."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import smtplib
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx

from events.language.common import is_identifier
from events.language.deployments.alerts import AlertChannelKind
from events.notices import messages
from events.notices.messages import Notice
from events.process.settings import Settings

log = logging.getLogger("forgelog.alerts")

SECONDS = 10.0
"""Longest wait for the other side."""

_PORTS = {"smtp": 587, "smtps": 465, "smtp+plain": 25}


class Undelivered(Exception):
    """A notice could not be sent. The text says why."""


async def send(settings: Settings, channel: Mapping[str, Any], notice: Notice) -> None:
    match AlertChannelKind(channel["kind"]):
        case AlertChannelKind.LOG:
            log.warning("%s", messages.line(notice))
        case AlertChannelKind.WEBHOOK:
            await _post(settings, channel, notice)
        case AlertChannelKind.EMAIL:
            await asyncio.to_thread(_mail, settings, str(channel["target"]), notice)


async def _post(settings: Settings, channel: Mapping[str, Any], notice: Notice) -> None:
    """One POST to one address that was looked at: a name that means another one a moment later changes nothing."""
    secret = read_secret(settings, name) if (name := channel.get("secret") or "") else ""
    content = messages.body(notice)
    given = messages.headers(notice, content, secret, int(time.time()))
    try:
        url = httpx.URL(channel["target"])
        address = await _address(url, settings.webhook_private)
        there = url.copy_with(host=address)
        given["host"] = url.netloc.decode("ascii")
        async with (
            httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=SECONDS) as client,
            client.stream(
                "POST", there, content=content, headers=given, extensions={"sni_hostname": url.host}
            ) as answer,
        ):
            status = answer.status_code
    except (httpx.InvalidURL, UnicodeError):
        raise Undelivered("the URL can't be used; correct the channel's target") from None
    except httpx.HTTPError as error:
        raise Undelivered(f"{type(error).__name__} at {url.host}") from None
    if 300 <= status < 400:
        raise Undelivered(f"{url.host} answered {status}: redirects are not followed; give the address itself")
    if not 200 <= status < 300:
        raise Undelivered(f"{url.host} answered {status}")


async def _address(url: httpx.URL, private: bool) -> str:
    """An address of the URL's host. Raises Undelivered where it is not of the public internet, unless `private`."""
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        async with asyncio.timeout(SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(url.host, port, type=1)
    except (OSError, TimeoutError):
        raise Undelivered(f"there is no host {url.host}") from None
    addresses = [str(each[4][0]) for each in found]
    if not private and not all(_is_public(each) for each in addresses):
        raise Undelivered(
            f"{url.host} is a private address; set FORGELOG_WEBHOOK_PRIVATE=true to let notices go to such"
        )
    return addresses[0]


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_global and not address.is_multicast


def _mail(settings: Settings, target: str, notice: Notice) -> None:
    """Blocks."""
    if not settings.smtp:
        raise Undelivered("FORGELOG_SMTP is not set, which says by which server mail goes")
    place = urlsplit(settings.smtp)
    host, port = place.hostname or "", place.port or _PORTS[place.scheme]
    message = messages.mail(notice, settings.mail_from, target)
    try:
        if place.scheme == "smtps":
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=SECONDS, context=ssl.create_default_context())
        else:
            server = smtplib.SMTP(host, port, timeout=SECONDS)
        with server:
            if place.scheme == "smtp":
                server.starttls(context=ssl.create_default_context())
            if place.username:
                server.login(unquote(place.username), read_secret(settings, settings.smtp_secret))
            server.send_message(message)
    except (smtplib.SMTPException, OSError) as error:
        code = f" {error.smtp_code}" if isinstance(error, smtplib.SMTPResponseException) else ""
        raise Undelivered(f"the mail server answered with {type(error).__name__}{code}") from None


def read_secret(settings: Settings, name: str) -> str:
    """The text of a secret's file. Raises Undelivered."""
    folder = settings.alert_secrets or settings.data / "secrets"
    if not is_identifier(name):
        raise Undelivered("the secret's name can't be that of a file")
    try:
        return (Path(folder) / name).read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no text"
        raise Undelivered(f"secret {name} can't be read ({reason}); put it into {folder}") from None
