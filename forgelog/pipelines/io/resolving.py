"""What a source means now: which files, which version, which offsets. Reads lists and names, no rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from events.language.pipelines.columns import Column
from events.language.pipelines.connections import FILE_PLACES, DataSourceType
from events.language.pipelines.formats import FileFormat
from events.language.pipelines.sources import QUARANTINE, DataSource
from forgelog.pipelines.io.context import DatasetAt, IoContext, Resolved, ResolvedFile
from forgelog.pipelines.io.folders import Entry, Folder
from forgelog.pipelines.io.listing import MAX_FILES, listed, url_of
from forgelog.pipelines.io.opening import open_folder, split, type_of_url, whole_url
from forgelog.pipelines.io.paths import filled, is_wild, literal, partition_of
from forgelog.pipelines.io.versions import UNKNOWN, FolderVersion, newest, read_version
from forgelog.pipelines.io.words import shown
from forgelog.pipelines.problems import StageError


def resolve(source: DataSource, context: IoContext) -> Resolved:
    """What a source means now. Raises StageError; its fields are those of the source."""
    return _RESOLVERS[source.type](source, context)


def _resolve_files(source: DataSource, context: IoContext) -> Resolved:
    single = len(source.paths) == 0
    if source.format is not None and source.format.type is FileFormat.DELTA:
        return _resolve_delta(source, context)
    if source.trigger:
        return _resolve_arrived(source, context)
    files: dict[str, ResolvedFile] = {}
    for number, path in enumerate(source.patterns):
        field = "path" if single else f"paths[{number}]"
        if single and path.endswith("/") and (version := _version_of(source, path, context)) is not None:
            return version
        folder, entries = listed(path, source.type, source.connection, context, field)
        for entry in entries:
            found = _resolved_file(source, url_of(folder, entry), entry, field)
            files[found.url] = found
    if len(files) > MAX_FILES:
        raise StageError("paths", f"mean {len(files):,} files", f"give narrower ones: at most {MAX_FILES:,}")
    if not files and not source.allow_empty:
        named = " ".join(shown(filled(path, context, "path")) for path in source.patterns[:3])
        remedy = "check it; if none is expected at times, set allow_empty and give columns"
        raise StageError("path" if single else "paths", f"no file fits {named}", remedy)
    return _of_files(source, context, tuple(files.values()))


def _of_files(source: DataSource, context: IoContext, files: tuple[ResolvedFile, ...]) -> Resolved:
    return Resolved(
        source,
        context,
        identity=_identity(files),
        files=files,
        partitions=source.partitions,
        connection=source.connection,
        type=source.type,
    )


def _resolved_file(source: DataSource, url: str, entry: Entry, field: str) -> ResolvedFile:
    try:
        partition = partition_of(entry.name, (column.name for column in source.partitions))
    except ValueError as error:
        remedy = "name the file's folders after the columns of partitions, or leave the file out"
        raise StageError(field, f"{shown(url)} {error}", remedy) from None
    return ResolvedFile(url, entry.size, entry.etag, partition)


def _resolve_arrived(source: DataSource, context: IoContext) -> Resolved:
    """The files that have arrived for the run. One that has changed since arrives again, and is left to that run."""
    found = []
    for file in context.arrived.get(source.trigger, ()):
        root, name = split(file.url, source.type)
        folder = open_folder(root, source.type, source.connection, context, "path")
        entry = folder.head(name)
        if entry is None:
            remedy = "put it back and retry the run; whoever takes files away has to wait until their run has ended"
            raise StageError("path", f"{shown(file.url)} has arrived for this run, and is gone", remedy)
        if (entry.size, entry.etag) == (file.size, file.etag):
            found.append(_resolved_file(source, file.url, entry, "path"))
    if not found and not source.allow_empty:
        problem = f"no file has arrived for this run by the trigger {source.trigger}"
        raise StageError("trigger", problem, "wait for the trigger's runs; or set allow_empty and give columns")
    return _of_files(source, context, tuple(found))


def _version_of(source: DataSource, path: str, context: IoContext) -> Resolved | None:
    """A folder that Forgelog wrote is read by the files of its newest version: others may be on their way."""
    url = whole_url(filled(path, context, "path"), source.connection, source.type, "path")
    root, name = split(url, source.type)
    if is_wild(name):
        return None
    place = f"{root.rstrip('/')}/{literal(name)}"
    folder = open_folder(place, source.type, source.connection, context, "path")
    version = newest(folder, "path")
    if version is None:
        return None
    return replace(_of_version(source, context, folder, version), connection=source.connection, type=source.type)


def _of_version(source: DataSource, context: IoContext, folder: Folder, version: FolderVersion) -> Resolved:
    types = {column.name: column for column in version.columns}
    files = tuple(
        ResolvedFile(
            f"{folder.url}/{file.path}",
            file.bytes,
            file.checksum or version.attempt,
            file.partition,
            None if file.rows == UNKNOWN else file.rows,
        )
        for file in version.files
    )
    return Resolved(
        source,
        context,
        # the same files are the same rows, whatever version they are of
        identity=_identity(files),
        files=files,
        partitions=tuple(types.get(name, Column(name=name, type="VARCHAR")) for name in version.partition_by),
        columns=version.columns,
        version=version.version,
    )


def _identity(files: Iterable[ResolvedFile]) -> tuple[str, ...]:
    return ("files", *(f"{file.url} {file.size} {file.etag}" for file in files))


def _resolve_dataset(source: DataSource, context: IoContext) -> Resolved:
    try:
        found = context.dataset_versions(source.dataset, source.version)
    except LookupError:
        which = f"version {source.version} of dataset {source.dataset!r}" if source.version else repr(source.dataset)
        remedy = "see forgelog pipeline lineage for those there are; the pipeline that makes it may have to run first"
        raise StageError("dataset", f"there is no published {which}", remedy) from None
    if found.type not in FILE_PLACES:
        return _in_another_place(source, context, found)
    quarantine = source.dataset.endswith(QUARANTINE)
    identity = (f"{'quarantine of ' if quarantine else ''}dataset {found.dataset_id} {found.version}",)
    if found.empty:
        return Resolved(
            source, context, identity, columns=found.empty, dataset_id=found.dataset_id, version=found.version
        )
    type_ = type_of_url(found.base)
    folder = open_folder(found.base, type_, found.connection, context, "dataset")
    version = read_version(folder, found.stored or found.version, "dataset")
    if version is None:
        problem = f"version {found.version} of dataset {source.dataset!r} is not at {found.base} any more"
        raise StageError("version", problem, "read a newer one")
    resolved = _of_version(source, context, folder, version)
    # Rows that were set aside have the columns which the table had then: all of them are read, as the files have them.
    columns = () if quarantine and resolved.files else resolved.columns
    return replace(
        resolved,
        columns=columns,
        identity=identity,
        connection=found.connection,
        type=type_,
        dataset_id=found.dataset_id,
        version=found.version,
    )


def _in_another_place(source: DataSource, context: IoContext, found: DatasetAt) -> Resolved:
    """A dataset whose sink is a database's table: it is read as it is now."""
    if found.type is not DataSourceType.DATABASE:
        raise StageError("dataset", f"rows that were sent to {found.base} can't be read back", "read another dataset")
    url, _, table = found.base.rpartition("#")
    connection = found.connection.model_copy(update={"url": url})
    other = DataSource(type=found.type, connection=connection, table=table, columns=source.columns)
    return replace(resolve(other, context), dataset_id=found.dataset_id, version=found.version)


def _resolve_delta(source: DataSource, context: IoContext) -> Resolved:
    from forgelog.pipelines.io.delta import table_files

    if len(source.patterns) != 1 or is_wild(source.patterns[0]):
        raise StageError("path", "is not one table", "give the folder of one table of Delta Lake")
    path = literal(filled(source.patterns[0], context, "path"))
    url = whole_url(path, source.connection, source.type, "path").rstrip("/")
    version, files, partitions, columns = table_files(url, source.type, source.connection, context)
    return Resolved(
        source,
        context,
        identity=(f"delta {url} {version}",),
        files=files,
        partitions=partitions,
        columns=columns,
        connection=source.connection,
        type=source.type,
        version=version,
    )


def _resolve_http(source: DataSource, context: IoContext) -> Resolved:
    from forgelog.pipelines.io.web import looked_at

    field = "path" if source.path else "paths"
    files = tuple(looked_at(path, source.connection, context, field) for path in source.patterns)
    known = all(file.etag for file in files)
    return Resolved(
        source, context, _identity(files) if known else (), files, connection=source.connection, type=source.type
    )


def _resolve_database(source: DataSource, context: IoContext) -> Resolved:
    # nothing tells cheaply whether a table has changed
    return Resolved(source, context, (), connection=source.connection, type=source.type)


def _resolve_topic(source: DataSource, context: IoContext) -> Resolved:
    from forgelog.pipelines.io.topics import offsets_to_read

    offsets = offsets_to_read(source, context)
    place = f"kafka {source.connection.url} {source.topic}"
    identity = (place, *(f"{partition} {start} {end}" for partition, (start, end) in sorted(offsets.items())))
    return Resolved(source, context, identity, offsets=offsets, connection=source.connection, type=source.type)


_RESOLVERS: dict[DataSourceType, Callable[[DataSource, IoContext], Resolved]] = {
    DataSourceType.S3: _resolve_files,
    DataSourceType.GCS: _resolve_files,
    DataSourceType.AZURE_BLOB: _resolve_files,
    DataSourceType.FILE_SYSTEM: _resolve_files,
    DataSourceType.HTTP: _resolve_http,
    DataSourceType.DATABASE: _resolve_database,
    DataSourceType.KAFKA: _resolve_topic,
    DataSourceType.DATASET: _resolve_dataset,
}
