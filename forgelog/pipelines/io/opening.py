"""Which folder a path means, and how it is opened: by the kind of its place."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from events.language.pipelines.connections import STORES, Connection, DataSourceType
from forgelog.pipelines.io.context import IoContext
from forgelog.pipelines.io.credentials import options_of
from forgelog.pipelines.io.folders import Folder
from forgelog.pipelines.io.words import shown
from forgelog.pipelines.problems import StageError

SCHEMES = {
    DataSourceType.S3: ("s3", "s3a"),
    DataSourceType.GCS: ("gs",),
    DataSourceType.AZURE_BLOB: ("az", "adl", "abfs", "abfss", "azure"),
    DataSourceType.FILE_SYSTEM: ("file", ""),
}


def whole_url(path: str, connection: Connection, type_: DataSourceType, field: str) -> str:
    """A path as a whole URL of its kind; of the file system as an absolute path."""
    schemes = SCHEMES[type_]
    url = path
    if "://" not in path and not (type_ is DataSourceType.FILE_SYSTEM and path.startswith("/")):
        if not connection.url:
            example = "/folder/file.csv" if type_ is DataSourceType.FILE_SYSTEM else f"{schemes[0]}://bucket/{path}"
            problem = f"{shown(path)} is relative, and connection.url is empty"
            raise StageError(field, problem, f"give the whole, such as {example}, or connection.url")
        url = connection.url.rstrip("/") + "/" + path.lstrip("/")
    scheme, sign, rest = url.partition("://")
    if not sign:
        scheme, rest = "", url
    if scheme not in schemes:
        known = " or ".join(f"{each}://" for each in schemes if each)
        problem = f"{shown(url)} is no place of type {type_}"
        raise StageError(field, problem, f"begin it with {known}, or change the type")
    if type_ is DataSourceType.FILE_SYSTEM:
        path = "/" + rest.lstrip("/") if scheme else rest
        if not path.startswith("/"):
            raise StageError(field, f"{shown(url)} is relative", "give an absolute path")
        if ".." in path.split("/"):
            raise StageError(field, f"{shown(url)} has the name '..'", "give the path without it")
        return path
    if not rest.partition("/")[0]:
        raise StageError(field, f"{shown(url)} names no bucket", f"write {schemes[0]}://bucket/path")
    return url


def split(url: str, type_: DataSourceType) -> tuple[str, str]:
    """The root of a place (bucket, or ``/``), and what is behind it."""
    if type_ is DataSourceType.FILE_SYSTEM:
        return "/", url.lstrip("/")
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    return f"{scheme}://{bucket}", key


def open_folder(url: str, type_: DataSourceType, connection: Connection, context: IoContext, field: str) -> Folder:
    """A folder by its whole URL. It need not be there yet."""
    if type_ in STORES:
        from forgelog.pipelines.io.stores import StoreFolder

        return StoreFolder(url.rstrip("/"), type_, options_of(connection, type_, context), field)
    from forgelog.pipelines.io.local import LocalFolder

    return LocalFolder(url.rstrip("/") or "/", field)


_TYPES = {scheme: type_ for type_, schemes in SCHEMES.items() for scheme in schemes}


def type_of_url(url: str) -> DataSourceType:
    """The kind of place of a whole URL. Raises ValueError."""
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme not in _TYPES:
        known = ", ".join(sorted(filter(None, _TYPES)))
        raise ValueError(f"{shown(url)} begins with none of {known}; give the URL of a folder or a bucket")
    return _TYPES[scheme]


def datasets_root(context: IoContext) -> tuple[str, DataSourceType]:
    """Where the platform keeps datasets of the run's project: a whole URL, or an absolute path."""
    if not context.datasets_url:
        raise StageError("", "this node was told no place of datasets", "set FORGELOG_DATASETS for its worker")
    try:
        type_ = type_of_url(context.datasets_url)
    except ValueError as error:
        problem, _, remedy = str(error).partition("; ")
        raise StageError("", f"the place of datasets {problem}", remedy) from None
    url = context.datasets_url.rstrip("/")
    if type_ is DataSourceType.FILE_SYSTEM and "://" in url:
        url = unquote(urlsplit(url).path)
    return f"{url}/{context.project}", type_
