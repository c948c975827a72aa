"""Tables that are folders of files: on a file system, in an object store, or a dataset of the platform.

A version is published by its file ``_forgelog/N.json``, which is created once. Two layouts:

- *A dataset.* Files stay where they were written, ``data/ATTEMPT/``, and the version's file names them: nobody reads
  the folder in another way. Older versions can be read on.
- *A folder that others read too.* Files are aside until they get their names ``part-N-...`` in the folder of their
  partition. Others see all files of a folder, so those that a version has not are removed after it is published:
  1. The new files get their names.
  2. The version's file is created. If it was there, another process was first.
  3. What the newest version does not have is removed: files it replaced, and files that a late publication of an older
     version may have left. Only names ``part-N-`` with N up to the newest version are, so a publication that is under
     way loses none.
  On a file system, `overwrite` of a whole table is one exchange of two folders instead: see `exchanging`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TypeVar

from events.language.pipelines.columns import Column
from events.language.pipelines.connections import DataSourceType
from events.language.pipelines.formats import format_of
from events.language.pipelines.manifests import NO_VALUE, CommitFile, CommitManifest
from events.language.pipelines.sinks import DataSink, OverwriteScope, WriteMode
from forgelog.pipelines.io.context import IoContext, Published
from forgelog.pipelines.io.exchanging import exchanged
from forgelog.pipelines.io.folders import Folder
from forgelog.pipelines.io.late import earlier, other_attempt, superseded
from forgelog.pipelines.io.local import LocalFolder, locked
from forgelog.pipelines.io.opening import open_folder, type_of_url
from forgelog.pipelines.io.paths import hidden, partition_of
from forgelog.pipelines.io.versions import (
    KEPT_IN,
    UNKNOWN,
    FolderVersion,
    VersionFile,
    name_of,
    newest,
    numbers,
    read_version,
)
from forgelog.pipelines.io.words import shown
from forgelog.pipelines.problems import StageError

_T = TypeVar("_T")

_AT_A_TIME = 16
_KEPT = 100
"""How many versions' files stay in a folder that others read too."""
_PART = re.compile(r"part-(\d{1,10})-")


class TablePlace:
    """See the module, and `forgelog.pipelines.io.places.Place`."""

    def __init__(self, sink: DataSink, base: str, context: IoContext) -> None:
        self.base = base
        self._context = context
        self._field = "dataset" if sink.type is DataSourceType.DATASET else "path"
        self._kept_in_place = sink.type is DataSourceType.DATASET
        self._type = type_of_url(base)
        self._folder: Folder = open_folder(base, self._type, sink.connection, context, self._field)

    def aside(self, attempt: str) -> str:
        if self._kept_in_place or not isinstance(self._folder, LocalFolder):
            return f"{self.base}/{self._aside_name(attempt)}"
        return str(_beside(self._folder.path) / attempt)

    def _aside_name(self, attempt: str) -> str:
        """From the folder on."""
        if self._kept_in_place:
            return f"data/{attempt}"
        if isinstance(self._folder, LocalFolder):
            return f"../{_beside(self._folder.path).name}/{attempt}"
        return f"_forgelog_aside/{attempt}"

    def check(self, sink: DataSink) -> None:
        current = newest(self._folder, self._field)
        if current is None:
            self._check_foreign(sink)
        if sink.mode is WriteMode.ERROR and self._files_now(sink, current):
            problem = f"is error, and there are rows at {self.base} already"
            raise StageError("mode", problem, "choose another mode, or another place")
        self._check_partitions(sink, current)

    def put_aside(
        self, sink: DataSink, attempt: str, local: Path, files: Sequence[CommitFile], columns: Sequence[Column]
    ) -> None:
        aside = self._aside_name(attempt)
        self._folder.remove_folder(aside)
        try:
            self._each(lambda file: self._folder.upload(local / file.path, f"{aside}/{file.path}"), files)
        except BaseException:
            self._folder.remove_folder(aside)
            raise

    def publish(self, sink: DataSink, manifest: CommitManifest, version: int) -> Published:
        with self._alone():
            current = newest(self._folder, self._field)
            if current is not None and current.version >= version:
                self._finish(current, manifest.attempt)
                return self._was_published(current, manifest, version)
            target = self._next(sink, manifest, version, current)
            if not self._exchange(sink, manifest, target, current):
                try:
                    self._give_names(manifest, target)
                except StageError:
                    # another process was first, and has cleared up
                    if (now := newest(self._folder, self._field)) is not None and now.version >= version:
                        return self._was_published(now, manifest, version)
                    raise
                self._folder.create(name_of(version), target.to_json())
            current = newest(self._folder, self._field)
            assert current is not None, "a version was published above"
            self._finish(current, manifest.attempt)
            return self._was_published(current, manifest, version, already=False)

    def discard(self, manifest: CommitManifest) -> None:
        if self._kept_in_place:
            below = self._aside_name(manifest.attempt) + "/"
            for number in numbers(self._folder):
                there = read_version(self._folder, number, self._field)
                if there is not None and any(file.path.startswith(below) for file in there.files):
                    problem = f"the attempt {shown(manifest.attempt)} is published, as version {number} has files of it"
                    raise StageError("", problem, "it can't be discarded")
        self._folder.remove_folder(self._aside_name(manifest.attempt))

    # -- the next version

    def _next(
        self, sink: DataSink, manifest: CommitManifest, version: int, current: FolderVersion | None
    ) -> FolderVersion:
        if current is None:
            self._check_foreign(sink)
        self._check_partitions(sink, current)
        before = self._files_now(sink, current)
        if sink.mode is WriteMode.ERROR and before:
            problem = f"is error, and there are rows at {self.base} already"
            raise StageError("mode", problem, "choose another mode, or another place")
        new = tuple(self._as_published(file, manifest, version) for file in manifest.files)
        kept = before
        if sink.mode is WriteMode.OVERWRITE:
            touched = {tuple(sorted(file.partition.items(), key=str)) for file in new}
            whole = sink.scope is OverwriteScope.TABLE
            kept = tuple(
                file for file in before if not whole and tuple(sorted(file.partition.items(), key=str)) not in touched
            )
        elif before and (sink.mode is WriteMode.UPSERT or sink.compaction.min_files):
            from forgelog.pipelines.io.merging import Merge

            # a publication that was killed may have given some of the new files their names already
            aside = self._aside_name(manifest.attempt)
            columns = current.columns if current is not None else manifest.columns
            places = [self._where(f"{aside}/{file.path}", each) for file, each in zip(manifest.files, new, strict=True)]
            merge = Merge(self._folder, places, self._type, sink, manifest, self._context, columns)
            prefix = f"data/{manifest.attempt}/" if self._kept_in_place else ""
            if sink.mode is WriteMode.UPSERT:
                kept = merge.without_new_keys(before, version, prefix)
            else:
                kept, new = merge.compacted(before, new, version, prefix)
        files = kept + new
        present = {file.path for file in files}
        removes = () if self._kept_in_place else tuple(file.path for file in before if file.path not in present)
        return FolderVersion(
            version=version,
            attempt=manifest.attempt,
            columns=manifest.columns,
            partition_by=sink.partition_by,
            files=files,
            removes=removes,
        )

    def _where(self, aside: str, published: VersionFile) -> VersionFile:
        there = self._kept_in_place or self._folder.head(aside) is not None
        return published.model_copy(update={"path": aside}) if there else published

    def _as_published(self, file: CommitFile, manifest: CommitManifest, version: int) -> VersionFile:
        path = f"data/{manifest.attempt}/{file.path}" if self._kept_in_place else _final(file.path, version)
        partition = {column: None if value == NO_VALUE else value for column, value in file.partition.items()}
        return VersionFile(
            path=path,
            bytes=file.bytes,
            rows=file.rows,
            partition=partition,
            bucket=file.bucket,
            checksum=file.checksum,
        )

    def _files_now(self, sink: DataSink, current: FolderVersion | None) -> tuple[VersionFile, ...]:
        """The files of the newest version; of a folder that has none, those that others wrote."""
        if current is not None:
            return current.files
        if self._kept_in_place:
            return ()
        found = []
        for entry in self._folder.walk():
            if _is_data(entry.name) and not _PART.match(PurePosixPath(entry.name).name):
                try:
                    partition = dict(partition_of(entry.name, sink.partition_by))
                except ValueError:
                    partition = {}
                found.append(VersionFile(path=entry.name, bytes=entry.size, rows=UNKNOWN, partition=partition))
        return tuple(found)

    def _check_foreign(self, sink: DataSink) -> None:
        """`overwrite` removes what a folder has: it must be a table's."""
        if self._kept_in_place or sink.mode is not WriteMode.OVERWRITE:
            return
        for entry in self._folder.walk():
            if _is_data(entry.name) and format_of(entry.name) is None:
                problem = f"{self.base} is to be overwritten, and has {shown(entry.name)}, which is no table's file"
                raise StageError(self._field, problem, "give the table a folder of its own")

    def _check_partitions(self, sink: DataSink, current: FolderVersion | None) -> None:
        whole = sink.mode is WriteMode.OVERWRITE and sink.scope is OverwriteScope.TABLE
        if current is None or not current.files or whole or current.partition_by == sink.partition_by:
            return
        have = ", ".join(current.partition_by) or "nothing"
        problem = f"is not that of the table, which is divided by {have}"
        raise StageError("partition_by", problem, "take the same columns, or overwrite the whole table")

    # -- steps of a publication

    def _exchange(
        self, sink: DataSink, manifest: CommitManifest, target: FolderVersion, current: FolderVersion | None
    ) -> bool:
        whole = sink.mode is WriteMode.OVERWRITE and sink.scope is OverwriteScope.TABLE
        if self._kept_in_place or not whole or not isinstance(self._folder, LocalFolder):
            return False
        own = {file.path for file in self._files_now(sink, current)}
        if not all(entry.name in own or entry.name.startswith(f"{KEPT_IN}/") for entry in self._folder.walk()):
            return False  # the folder that is exchanged is removed, with whatever else is in it
        names = [(file.path, _final(file.path, target.version)) for file in manifest.files]
        aside = _beside(self._folder.path) / manifest.attempt
        return exchanged(self._folder.path, aside, names, target.model_copy(update={"removes": ()}), self._field)

    def _give_names(self, manifest: CommitManifest, target: FolderVersion) -> None:
        if self._kept_in_place:
            return
        aside = self._aside_name(manifest.attempt)
        moves = [(f"{aside}/{old.path}", _final(old.path, target.version)) for old in manifest.files]
        self._each(lambda move: self._folder.move(*move), moves)

    def _finish(self, current: FolderVersion, attempt: str) -> None:
        """Removes what the newest version does not have."""
        if current.attempt == attempt:
            for each in earlier(attempt):
                self._folder.remove_folder(self._aside_name(each))
        if self._kept_in_place:
            return
        present = {file.path for file in current.files}
        stray = set(current.removes) - present
        for entry in self._folder.walk():
            part = _PART.match(PurePosixPath(entry.name).name)
            if part and int(part[1]) <= current.version and entry.name not in present and _is_data(entry.name):
                stray.add(entry.name)
        self._folder.remove(sorted(stray))
        self._folder.remove_folder(self._aside_name(attempt))
        old = [number for number in numbers(self._folder) if number <= current.version - _KEPT]
        self._folder.remove([name_of(number) for number in old])

    def _was_published(
        self, current: FolderVersion, manifest: CommitManifest, version: int, *, already: bool = True
    ) -> Published:
        if current.version > version:
            raise superseded(version, current.version, self.base)
        if current.attempt != manifest.attempt:
            raise other_attempt(version, current.attempt, self.base)
        return Published(version, self.base, current.rows, current.bytes, already)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Publications of a local folder come one after the other; in a store, creation decides."""
        if self._kept_in_place or not isinstance(self._folder, LocalFolder):
            yield
            return
        with self._folder.explained("publish in"), locked(_beside(self._folder.path), self._field):
            yield

    def _each(self, do: Callable[[_T], None], items: Sequence[_T]) -> None:
        """Several at a time in a store, which takes some milliseconds for each."""
        if isinstance(self._folder, LocalFolder) or len(items) < 2:
            for item in items:
                do(item)
            return
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            for done in [pool.submit(do, item) for item in items]:
                done.result()


def _final(path: str, version: int) -> str:
    """``day=x/part-00001-...`` as ``day=x/part-VERSION-00001-...``."""
    folder, sign, name = path.rpartition("/")
    return f"{folder}{sign}part-{version}-{name.removeprefix('part-')}"


def _beside(path: Path) -> Path:
    """The hidden folder beside a local table, where attempts are written: an exchange needs one file system."""
    return path.with_name(f".{path.name}.forgelog")


def _is_data(name: str) -> bool:
    return not any(hidden(part) for part in name.split("/"))
