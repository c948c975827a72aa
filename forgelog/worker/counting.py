"""How many rows of text a stage has read: DuckDB's profiles of its queries say so.

A version of a dataset and the footer of a Parquet file say how many rows they have. A file of CSV or JSON does not, and
must not be read once more to count them. So DuckDB profiles each query of a stage that reads such files: a profile has
each scan with its files and its rows, before any filter. See docs/decisions/0157-rows-that-a-stage-has-read.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import duckdb

_MORE = ", ..."
"""Ends a scan's files in a profile where they are more than some."""


class Counting:
    """A connection of DuckDB that counts the rows which are read from files of text. It is used as the connection.

    The profile of a query is complete once its rows are fetched, so it is looked at before the next use."""

    def __init__(self, connection: Any) -> None:
        """`connection`: it is not locked yet."""
        self._connection = connection
        self._inputs: list[frozenset[str]] = []
        self._profiled = False
        self._scans: dict[str, int] = {}
        """The most rows that a query has read of some files."""

    def __getattr__(self, name: str) -> Any:
        if self._profiled:
            self._look()
        return getattr(self._connection, name)

    def count_input(self, files: Sequence[str]) -> None:
        """From here on count what is read of an input's files. A DuckDB before 2.0 can't: its rows of text are 0."""
        self._inputs.append(frozenset(_names(files)))
        if self._profiled or not hasattr(self._connection, "get_profiling_information"):
            return
        with suppress(duckdb.Error):  # some version has no such setting
            self._connection.execute("SET enable_profiling = 'no_output'")
            self._connection.execute("SET profiling_coverage = 'ALL'")
            self._profiled = True

    def rows_of_text(self) -> int:
        """Of all inputs: each once, however many queries have read it."""
        if self._profiled:
            self._look()
        scans = [(set(_names([text.removesuffix(_MORE)])), rows) for text, rows in self._scans.items()]
        return sum(max((rows for files, rows in scans if files <= given), default=0) for given in self._inputs)

    def _look(self) -> None:
        profile = self._connection.get_profiling_information()
        for files, rows in _scans(json.loads(profile).get("operator", ()) if profile else ()):
            self._scans[files] = max(rows, self._scans.get(files, 0))


def _names(files: Iterable[str]) -> Iterator[str]:
    """A profile has all names as one text. A name with a comma in it is taken for two names, of an input as well."""
    for name in files:
        yield from name.split(", ")


def _scans(operators: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, int]]:
    for operator in operators:
        files = operator.get("extra_info", {}).get("Filename(s)")
        if isinstance(files, str):
            yield files, operator.get("rows_scanned", 0)
        yield from _scans(operator.get("children", ()))
