"""Files of web servers: looked at by HEAD, read by GET into the scratch folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from events.language.pipelines.connections import Connection, DataSourceType
from forgelog.pipelines.io.context import IoContext, ResolvedFile
from forgelog.pipelines.io.credentials import options_of
from forgelog.pipelines.io.paths import filled, is_wild, literal
from forgelog.pipelines.io.words import shown
from forgelog.pipelines.problems import StageError

_OWN = ("timeout", "token", "user", "password")
"""Options that are no headers."""


def web_url(path: str, connection: Connection, field: str) -> str:
    """A path as a whole URL."""
    url = path if "://" in path else f"{connection.url.rstrip('/')}/{path.lstrip('/')}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise StageError(field, f"{shown(url)} is no URL of a web server", "write https://host/path, or connection.url")
    return url


@contextmanager
def web_client(connection: Connection, context: IoContext, field: str) -> Iterator[httpx.Client]:
    """A client with a connection's headers. What httpx raises becomes StageError."""
    options = options_of(connection, DataSourceType.HTTP, context)
    headers = {name: value for name, value in options.items() if name not in _OWN}
    if "token" in options:
        headers["Authorization"] = f"Bearer {options['token']}"
    auth = (options.get("user", ""), options["password"]) if "password" in options else None
    try:
        timeout = float(options.get("timeout", "60"))
    except ValueError:
        raise StageError("connection.options", f"timeout {shown(options['timeout'])} is no number", "seconds") from None
    asked: list[tuple[str, str, int | None]] = []

    def keep_secrets(request: httpx.Request) -> None:
        """httpx takes away `Authorization` where a redirect leads elsewhere, and no other header."""
        asked.append((request.url.scheme, request.url.host, request.url.port))
        if (headers or auth) and asked[-1] != asked[0]:
            problem = f"{asked[0][1]} redirects to {request.url.host}, and what opens the one is not for the other"
            raise StageError(field, problem, "give the URL that it redirects to, with a connection of its own")

    hooks = {"request": [keep_secrets]}
    try:
        with httpx.Client(
            headers=headers, auth=auth, timeout=timeout, follow_redirects=True, event_hooks=hooks
        ) as client:
            yield client
    except httpx.HTTPError as error:
        where = f" {error.request.url.copy_with(query=None)}" if _has_request(error) else ""
        problem = f"can't reach{where}: {type(error).__name__}: {str(error)[:200]}"
        raise StageError(field, problem, "check the URL and the network", transient=True) from None


def _has_request(error: httpx.HTTPError) -> bool:
    try:
        return error.request is not None
    except RuntimeError:
        return False


def check_answer(answer: httpx.Response, field: str) -> None:
    """Raises StageError for an answer that is no success."""
    if answer.is_success:
        return
    status = answer.status_code
    transient = status >= 500 or status in (408, 425, 429)
    hint = {401: "check connection.secret", 403: "check connection.secret", 404: "check the path"}
    problem = f"{answer.request.url.copy_with(query=None)} answered {status} {answer.reason_phrase}"
    raise StageError(field, problem, hint.get(status, "the server's own log says more"), transient=transient)


def looked_at(path: str, connection: Connection, context: IoContext, field: str) -> ResolvedFile:
    """A file by its headers. A server that does not know HEAD tells nothing: then the size is 0."""
    text = filled(path, context, field)
    if is_wild(text) or text.endswith("/"):
        problem = f"{shown(text)} is no single file, and a web server can't be listed"
        raise StageError(field, problem, "name each file in paths; a sign of a wild card itself stands in brackets")
    url = web_url(literal(text), connection, field)
    with web_client(connection, context, field) as client:
        answer = client.head(url)
        if answer.status_code in (405, 501):
            return ResolvedFile(url, 0, "")
        check_answer(answer, field)
        return ResolvedFile(url, int(answer.headers.get("content-length", "0")), _etag(answer.headers))


def _etag(headers: Mapping[str, str]) -> str:
    """Weak ones say that the content means the same, not that it is the same."""
    etag = headers.get("etag", "")
    return etag if etag and not etag.startswith("W/") else headers.get("last-modified", "")


def download(file: ResolvedFile, connection: Connection, context: IoContext, path: Path) -> None:
    """Read a file into the scratch folder."""
    with web_client(connection, context, "path") as client, client.stream("GET", file.url) as answer:
        check_answer(answer, "path")
        if file.etag and (now := _etag(answer.headers)) != file.etag:
            where = httpx.URL(file.url).copy_with(query=None)
            problem = f"{where} has changed since it was looked at ({shown(file.etag)} is {shown(now)})"
            raise StageError("path", problem, "run the stage again", transient=True)
        try:
            with path.open("wb") as out:
                for part in answer.iter_bytes(1 << 20):
                    out.write(part)
        except OSError as error:
            problem = f"can't write into the scratch folder: {os.strerror(error.errno or 0).lower()}"
            raise StageError("", problem, "give the stage more storage, or the node room") from None
