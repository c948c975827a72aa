"""Folders in object stores: S3, Google Cloud Storage, Azure, by obstore.

Errors do not quote obstore's messages, which may have a signed address or a header.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from events.language.pipelines.connections import DataSourceType
from forgelog.pipelines.io.folders import Entry
from forgelog.pipelines.problems import StageError

_RETRIED = timedelta(seconds=30)
"""How long a request is retried after faults of the server or the network."""
_CLIENT_OPTIONS = ("allow_http", "timeout", "connect_timeout", "proxy_url")


class StoreFolder:
    """See `forgelog.pipelines.io.folders`."""

    def __init__(self, url: str, type_: DataSourceType, options: Mapping[str, str], field: str) -> None:
        self.url = url
        self._field = field
        with self._explained("open"):
            self._store = _opened(url, type_, options)

    def walk(self, below: str = "") -> Iterator[Entry]:
        import obstore

        with self._explained("list"):
            # one chunk after the other: an error comes out here, and not in the caller's frames
            for chunk in obstore.list(self._store, below.rstrip("/") or None, chunk_size=1_000):
                for each in chunk:
                    yield _entry(each)

    def head(self, name: str) -> Entry | None:
        import obstore

        with self._explained("look for a file in"):
            try:
                return _entry(obstore.head(self._store, name))
            except FileNotFoundError as error:
                _check_bucket(error)
                return None

    def read(self, name: str) -> bytes | None:
        import obstore

        with self._explained("read a file of"):
            try:
                return bytes(obstore.get(self._store, name).bytes())
            except FileNotFoundError as error:
                _check_bucket(error)
                return None

    def read_range(self, name: str, start: int, end: int) -> bytes:
        import obstore

        with self._explained("read a file of"):
            return bytes(obstore.get_range(self._store, name, start=start, end=end))

    def create(self, name: str, data: bytes) -> bool:
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self._explained("write a file to"):
            try:
                obstore.put(self._store, name, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
            return True

    def upload(self, source: Path, name: str) -> None:
        import obstore

        with self._explained("write a file to"):
            obstore.put(self._store, name, source)

    def move(self, name: str, to: str) -> None:
        import obstore

        with self._explained("copy a file of"):
            try:
                obstore.copy(self._store, name, to)
            except FileNotFoundError as error:
                _check_bucket(error)
                if self.head(to) is None:
                    raise

    def remove(self, names: Iterable[str]) -> None:
        import obstore

        wanted = list(names)
        with self._explained("remove a file from"):
            for start in range(0, len(wanted), 1_000):
                several = wanted[start : start + 1_000]
                try:
                    obstore.delete(self._store, several)
                except FileNotFoundError as error:
                    _check_bucket(error)
                    for name in several:  # some stores stop at a name that is gone
                        with suppress(FileNotFoundError):
                            obstore.delete(self._store, name)

    def remove_folder(self, name: str) -> None:
        self.remove([entry.name for entry in self.walk(name)])

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except Exception as error:
            if not isinstance(error, BaseError | OSError) and type(error).__name__ != "RustPanic":
                raise
            problem, remedy, transient = _explanation(error)
            raise StageError(self._field, f"can't {doing} {self.url}: {problem}", remedy, transient=transient) from None


def _opened(url: str, type_: DataSourceType, options: Mapping[str, str]) -> Any:
    from obstore.store import AzureStore, GCSStore, S3Store

    kind: Any = {DataSourceType.S3: S3Store, DataSourceType.GCS: GCSStore, DataSourceType.AZURE_BLOB: AzureStore}[type_]
    client: dict[str, Any] = {name: options[name] for name in _CLIENT_OPTIONS if name in options}
    config = {name: value for name, value in options.items() if name not in client}
    if any(value.startswith("http://") for name, value in config.items() if "endpoint" in name):
        client.setdefault("allow_http", "true")
    return kind.from_url(
        url,
        config=config or None,
        client_options=client or None,
        retry_config={"retry_timeout": _RETRIED},
    )


def _entry(meta: Mapping[str, Any]) -> Entry:
    modified = meta["last_modified"]
    return Entry(meta["path"], meta["size"], meta["e_tag"] or str(modified), modified.timestamp())


def _check_bucket(error: FileNotFoundError) -> None:
    """Raises the error if the whole bucket is missing, and not just a name in it."""
    if "<Code>NoSuchBucket</Code>" in str(error) or "<Code>ContainerNotFound</Code>" in str(error):
        raise error


_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")

_HINTS = {
    "401": "check the connection's secret",
    "403": "check the connection's secret, and that it may list, read, write and delete there",
    "404": "check the name of the bucket or container, and that the file was not removed meanwhile",
    "507": "the store is full: make room",
}


def _explanation(error: Exception) -> tuple[str, str, bool]:
    """What is wrong, what to do, and whether another try may help. Quotes only numbers and code words."""
    text = str(error)
    status = _STATUS.search(text)
    code = "".join(_CODE.findall(text)[:1])
    if isinstance(error, FileNotFoundError) and not status:
        return "it is not there", _HINTS["404"], False
    if isinstance(error, PermissionError) and not status:
        return "the store does not allow it", _HINTS["403"], False
    if status:
        number = status[1]
        transient = (number[0] == "5" and number != "507") or number in ("408", "429")
        return f"the store answered {number} {code}".strip(), _HINTS.get(number, "its own log says more"), transient
    if "169.254.169.254" in text or "credential" in text.lower():
        return "there are no credentials", "name the connection's secret", False
    if "HTTP error" in text or "error sending request" in text:
        return "the store can't be reached", "check the network, and the connection's endpoint", True
    return f"{type(error).__name__}", "check the connection's url and options", False
