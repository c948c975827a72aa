"""Postgres' password in a file, and its address without it.

Addresses travel: in the environment of processes, in `platform.json`, in what is printed. A password does not belong
there, so an address names a file that has it (``?passfile=``), which libpq's programs (psql, pg_dump) understand too.
https://www.postgresql.org/docs/current/libpq-pgpass.html
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from events.process.keys import KeyFileProblem, ensure_key, read_key
from forgelog.embedded.process import EmbeddedError

_ANY = "*:*:*:*:"
"""Any host, port, database and user: each file is for one address."""


def without_password(dsn: str) -> str:
    """For people's eyes and logs."""
    return _split(dsn)[0]


def with_passfile(dsn: str, file: Path) -> str:
    """The address with its password moved to the file, which is written anew when that is another one. An address
    without a password stays as it is. Raises EmbeddedError."""
    bare, password = _split(dsn)
    if password is None:
        return dsn
    if password != password.strip() or not password.isprintable() or not password.isascii():
        raise EmbeddedError(
            "FORGELOG_POSTGRES: its password has spaces around it or characters that are not printable ASCII, which "
            "a password file can't hold; write one yourself and name it in the address: ...?passfile=/path/of/file"
        )
    if file.exists() and password_in(file) != password:
        file.unlink()
    ensure_password(file, password)
    return address_with(bare, file)


def ensure_password(file: Path, password: str) -> None:
    """Write the file unless it is there. Raises EmbeddedError."""
    try:
        ensure_key(file, lambda: _ANY + password)
    except KeyFileProblem as problem:
        raise EmbeddedError(str(problem)) from None


def password_in(file: Path) -> str:
    """The password in a file that was written here. Raises EmbeddedError."""
    try:
        return read_key(file).removeprefix(_ANY)
    except KeyFileProblem as problem:
        raise EmbeddedError(str(problem)) from None


def address_with(dsn: str, file: Path) -> str:
    """An address without a password that names the file of it."""
    return f"{dsn}{'&' if '?' in dsn else '?'}passfile={quote(str(file))}"


def _split(dsn: str) -> tuple[str, str | None]:
    """The address without its password, and that."""
    parts = urlsplit(dsn)
    login, at, hosts = parts.netloc.rpartition("@")
    user, colon, written = login.partition(":")
    query = parse_qsl(parts.query, keep_blank_values=True)
    named = [value for name, value in query if name == "password"]
    if not colon and not named:
        return dsn, None
    kept = parts.query
    if named:
        kept = urlencode([pair for pair in query if pair[0] != "password"], quote_via=quote, safe="/")
    bare = f"{parts.scheme}://{user}{at}{hosts}{parts.path}{'?' if kept else ''}{kept}"
    return bare, unquote(written) if colon else named[0]
