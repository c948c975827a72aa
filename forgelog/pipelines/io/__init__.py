"""Reading and writing data: eight kinds of places, six formats, and commits that are published once.

A stage resolves each source (`resolve`: which files, which version), makes it a view of DuckDB (`attach`), writes the
rows of its result aside (`write_aside`) and, once the dataset's version is decided, publishes them (`publish`). All
functions are synchronous; a stage runs in a process of its own. Their errors are `StageError`.
"""

from forgelog.pipelines.io.attaching import Attached, allowed_paths, attach, rows_of
from forgelog.pipelines.io.context import DatasetAt, IoContext, Published, Resolved, ResolvedFile
from forgelog.pipelines.io.late import Superseded
from forgelog.pipelines.io.publishing import discard, discard_all, publish
from forgelog.pipelines.io.reading_problems import reading_problem
from forgelog.pipelines.io.resolving import resolve
from forgelog.pipelines.io.writing import write_aside

__all__ = [
    "Attached",
    "DatasetAt",
    "IoContext",
    "Published",
    "Resolved",
    "ResolvedFile",
    "Superseded",
    "allowed_paths",
    "attach",
    "discard",
    "discard_all",
    "publish",
    "reading_problem",
    "resolve",
    "rows_of",
    "write_aside",
]
