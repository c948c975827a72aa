"""Reads the SQL that users write, by DuckDB's own parser: what it reads, which parameters it has, whether it may be.

Knows no engine and no data. A text is never changed, except that parameters' values take the places of their names.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any

from forgelog.pipelines.engine.literals import literal
from forgelog.pipelines.problems import StageError, needs_extra

PURE_TABLE_FUNCTIONS = frozenset({"generate_series", "json_each", "json_tree", "range", "repeat", "unnest"})
"""Table functions that read nothing but their arguments."""

_NO_PLACE = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class SqlText:
    """A query or an expression, and what its author may not see at once."""

    text: str
    reads: tuple[str, ...]
    """The relations that it reads, in the order of their first mention, in lower case."""
    parameters: tuple[tuple[int, str], ...]
    """Each use of a parameter: where it begins in the UTF-8 bytes of `text`, and its name."""
    functions: frozenset[str]
    """The functions that it calls, in lower case."""
    root: str
    """Of an expression: its outermost node, such as ``FUNCTION``, ``OPERATOR`` or ``COLUMN_REF``. Empty for a query."""

    def bound(self, values: Mapping[str, Any], field: str) -> str:
        """The text with the values of its parameters.

        Raises:
            StageError: a parameter has no value, or one that SQL can't say.
        """
        data = self.text.encode()
        for place, name in sorted(self.parameters, reverse=True):
            if name not in values:
                known = ", ".join(sorted(values)) or "none"
                raise StageError(field, f"there is no parameter {name!r}", f"declare it; known are: {known}")
            try:
                value = literal(values[name])
            except ValueError as error:
                raise StageError(field, f"parameter {name!r} {error}", "give a text, number, date or time") from None
            data = data[:place] + value.encode() + data[place + 1 + len(name.encode()) :]
        return data.decode()


Reader = Callable[[str, str], SqlText]


def _not_too_deep(read: Reader) -> Reader:
    """Says it of a text whose brackets are nested too deeply to be read."""

    @wraps(read)
    def checked(text: str, field: str) -> SqlText:
        try:
            return read(text, field)
        except RecursionError:
            raise StageError(field, f"{_shown(text)} is nested too deeply", "write it flatter") from None

    return checked


@lru_cache(maxsize=4096)
@_not_too_deep
def query(text: str, field: str) -> SqlText:
    """A text that is to be one SELECT.

    Raises:
        StageError: it is not, or reads what is no relation of the stage (files, schemas, catalogs).
    """
    node = _one_statement(text, text, field)
    return _read(text, node, 0, "", field)


@lru_cache(maxsize=16_384)
@_not_too_deep
def expression(text: str, field: str) -> SqlText:
    """A text that is to be one expression over columns.

    Raises:
        StageError: it is not, or a query within it reads what is no relation of the stage.
    """
    prefix = "SELECT "
    node = _one_statement(prefix + text, text, field)
    plain = (
        node["type"] == "SELECT_NODE"
        and not node["modifiers"]
        and not node["cte_map"]["map"]
        and len(node["select_list"]) == 1
        and node["from_table"]["type"] == "EMPTY"
        and not any(node[part] for part in ("where_clause", "group_expressions", "having", "sample", "qualify"))
    )
    if not plain or node["select_list"][0]["alias"]:
        raise StageError(field, f"{_shown(text)} is more than one expression", "write one, without AS, FROM or commas")
    _one_statement(f"SELECT ({text}\n)", text, field)  # it is put into brackets: refuses what ends a statement
    outermost = node["select_list"][0]
    if _has_star(outermost):
        raise StageError(field, f"{_shown(text)} stands for several columns", "name each column")
    return _read(text, node, len(prefix), "OPERATOR" if outermost.get("is_operator") else outermost["class"], field)


def type_name(text: str, field: str) -> str:
    """A text that is to be a type of DuckDB.

    Raises:
        StageError: it can't be one. Whether there is such a type is known where it is used.
    """
    if expression(f"CAST(NULL AS {text}\n)", field).root != "CAST":
        raise StageError(field, f"{_shown(text)} is no type", "give a type of DuckDB, such as BIGINT or DECIMAL(18,2)")
    return text


def quoted(name: str) -> str:
    """A name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def different(names: Iterable[str], place: str) -> None:
    """Raises StageError if two names are the same to SQL."""
    seen: set[str] = set()
    for name in names:
        if name.casefold() in seen:
            raise StageError(place, f"gives two columns the name {name!r}", "choose another name")
        seen.add(name.casefold())


_parser_lock = threading.Lock()
_parser: list[Any] = []


def _serialised(text: str) -> dict[str, Any]:
    with _parser_lock:
        if not _parser:
            try:
                import duckdb
            except ImportError:
                raise needs_extra("duckdb") from None
            _parser.append(duckdb.connect(":memory:", config={"threads": 1}))
        (answer,) = _parser[0].execute("SELECT json_serialize_sql(?)", [text]).fetchone()
    result: dict[str, Any] = json.loads(answer)
    return result


def _one_statement(text: str, written: str, field: str) -> dict[str, Any]:
    if not written.strip():
        raise StageError(field, "is empty", "write SQL")
    answer = _serialised(text)
    if answer["error"]:
        said = answer["error_message"].strip().splitlines()[0]
        if answer["error_type"] == "parser":
            raise StageError(field, f"is no SQL: {said}", 'write it as DuckDB\'s SQL, and names with blanks in ""')
        if "SELECT" in said:
            raise StageError(field, f"{_shown(written)} is no SELECT", "write one SELECT; a stage's sink writes")
        raise StageError(field, f"{_shown(written)} can't be read: {said}", "write it in another way")
    if len(answer["statements"]) != 1:
        raise StageError(field, f"has {len(answer['statements'])} statements", "write one")
    if text.rstrip().endswith(";"):
        raise StageError(field, "ends with a semicolon", "leave it out")
    node: dict[str, Any] = answer["statements"][0]["node"]
    return node


def _read(text: str, node: dict[str, Any], shift: int, root: str, field: str) -> SqlText:
    reads: dict[str, None] = {}
    parameters: set[tuple[int, str]] = set()
    functions: set[str] = set()
    data = text.encode()
    for part, hidden in _walk(node, frozenset()):
        kind = part.get("type")
        if kind == "BASE_TABLE":
            _add_read(part, hidden, reads, field)
        elif kind == "TABLE_FUNCTION":
            name = part["function"]["function_name"].lower()
            if name not in PURE_TABLE_FUNCTIONS:
                raise StageError(
                    field,
                    f"reads by the function {name}",
                    "declare what it reads as an input of the stage, and read that by its name",
                )
        elif kind == "SHOW_REF":
            raise StageError(field, "asks for a table's description", "read the table itself")
        elif kind == "VALUE_PARAMETER":
            name, place = part["identifier"], part["query_location"] - shift
            if name.isdigit():
                raise StageError(field, "has a parameter without a name", "write $name")
            if part["query_location"] == _NO_PLACE or not data[place:].startswith(f"${name}".encode()):
                raise StageError(field, f"parameter ${name} can't be placed", "write CAST($name AS its type)")
            parameters.add((place, name))
        elif kind == "FUNCTION" or part.get("class") == "WINDOW":
            functions.add(part["function_name"].lower())
    return SqlText(text, tuple(reads), tuple(sorted(parameters)), frozenset(functions), root)


def _add_read(part: Mapping[str, Any], hidden: frozenset[str], reads: dict[str, None], field: str) -> None:
    path = part["qualified_name"]["path"]
    name = path[-1].lower()
    if len(path) > 1:
        raise StageError(
            field,
            f"reads {'.'.join(path)}",
            "read inputs and earlier transformations by their names alone",
        )
    if name not in hidden:
        reads[name] = None


def _walk(node: Any, hidden: frozenset[str]) -> Iterator[tuple[dict[str, Any], frozenset[str]]]:
    """All nodes below one, each with the names of the common table expressions that are in scope there."""
    if isinstance(node, list):
        for item in node:
            yield from _walk(item, hidden)
        return
    if not isinstance(node, dict):
        return
    yield node, hidden
    for entry in node.get("cte_map", {}).get("map", ()):
        # One sees those before it, and itself if it is recursive.
        name, body = entry["key"].lower(), entry["value"]
        recursive = body["query_node"].get("type") == "RECURSIVE_CTE_NODE"
        yield from _walk(body, hidden | {name} if recursive else hidden)
        hidden |= {name}
    for key, value in node.items():
        if key != "cte_map":
            yield from _walk(value, hidden)


def _has_star(node: Any) -> bool:
    """Whether ``*`` or ``COLUMNS(...)`` stands in an expression, queries within it apart."""
    if isinstance(node, list):
        return any(_has_star(item) for item in node)
    if not isinstance(node, dict) or node.get("class") == "SUBQUERY":
        return False
    return node.get("class") == "STAR" or any(_has_star(value) for value in node.values())


def _shown(text: str) -> str:
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= 60 else flat[:57] + "...")
