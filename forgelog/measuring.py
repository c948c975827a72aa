"""Measures tables before they are registered as a dataset: schema, samples, splits, and what each column is like.

Reads Parquet, CSV and JSON lines by DuckDB (``forgelog[datasets]``). Blocks. Knows no platform.

1. Find the files that are tables, all of one format.
2. Read the schema of each; they must go together.
3. Aggregate all columns, a group at a time, in one pass of the files each.
4. Count the values of columns that have few.
5. Count the values of numbers between their deciles.
6. Count the samples of each split.
"""

from __future__ import annotations

import csv
import glob
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from forgelog.errors import InvalidInput
from forgelog.unreadable import bad_line, named, opened, reason_of

if TYPE_CHECKING:
    import duckdb

SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "parquet": (".parquet", ".pq"),
    "csv": (".csv", ".tsv", ".csv.gz", ".tsv.gz"),
    "jsonl": (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz"),
}
"""Format → how the names of its files end."""

BESIDE = (".md", ".txt", ".rst", ".yaml", ".yml", ".json", ".sha256", "LICENSE", "README", "_SUCCESS")
"""Ends of the names of files that may lie beside tables, and are none."""

SPLITS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""Split → the words in a path that say it, as Hugging Face's ``datasets`` reads them."""

MAX_COLUMNS = 2_000
EXACT_SAMPLES = 100_000
"""Up to so many samples, `distinct` is exact; beyond, it is HyperLogLog's estimate where it is above `FEW`."""
FEW = 50
"""Most different values of a column whose values are counted one by one."""
LEAST_OFTEN = 10
"""A value that occurs less often is not named: it may tell of one person."""
DECILES = tuple(tenth / 10 for tenth in range(1, 10))
_NUDGE = 1e-6
"""By which part a bound is raised: a value is then below it as a float32 too, as models are asked."""
_GROUP = 100
"""Columns of one pass."""
_LARGEST = 1e150
"""Larger numbers have no square."""
_MAX_TYPE = 200
_ALL_LINES = "sample_size = -1, union_by_name = true, hive_partitioning = false"
"""Of DuckDB's readers: types hold for all lines of all files."""
_DELIMITERS = ",\t;|"
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_NUMBERS = re.compile(r"(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL.*)$")
_SCALARS = re.compile(r"(VARCHAR|BOOLEAN|UUID|DATE|TIME.*|ENUM.*)$")


class Measured(NamedTuple):
    """What tables are, by the fields of `DatasetSpec`."""

    data_format: str
    samples: int
    features: int
    splits: dict[str, int]
    columns: dict[str, str]
    """Name → DuckDB's type."""
    statistics: dict[str, dict[str, Any]]


class NotMeasured(Exception):
    """There is nothing that can be measured; the text says why."""


def measured(source: Path, format: str = "", *, began: Callable[[Callable[[], None]], None] | None = None) -> Measured:
    """Measure a file, or the tables of a folder. `format`: of `SUFFIXES`; empty: by the names. `began` is called with
    what stops it from another thread.

    Raises `NotMeasured` where there are no tables, or DuckDB is not installed; `InvalidInput` for tables that can't be
    read or do not go together."""
    format, files = _tables(source, format)
    connection = _connection()
    if began is not None:
        began(connection.interrupt)
    with tempfile.TemporaryDirectory(prefix="forgelog-measure-") as spill, connection:
        connection.execute(f"set temp_directory = {_text(spill)}")
        return _Reader(connection, format, files).measured()


def with_measured(spec: Mapping[str, Any], found: Measured) -> dict[str, Any]:
    """What is said of a dataset, with what was measured where nothing is said. Raises `InvalidInput` where one
    contradicts the other."""
    said = {name: value for name, value in spec.items() if value not in (None, "", {}, ())}
    samples, splits, columns = said.get("samples"), said.get("splits"), said.get("columns")
    if samples is not None and samples != found.samples:
        raise InvalidInput(f"samples: is {samples}, and the files have {found.samples}; leave it out")
    if splits is not None and found.splits and dict(splits) != found.splits:
        raise InvalidInput(f"splits: is {_counts(splits)}, and the files have {_counts(found.splits)}; leave it out")
    if columns is not None and (stray := sorted(columns.keys() ^ found.columns.keys())):
        where = "the files do not have" if stray[0] in columns else "the files have beside those that are named"
        raise InvalidInput(f"columns: there is {stray[0]!r}, which {where}; name all columns, or none")
    if (features := said.get("features")) is not None and features > found.features:
        raise InvalidInput(f"features: is {features}, and the files have {found.features} columns")
    statistics = {**found.statistics, **said.pop("statistics", {})}
    return {**spec, **found._asdict(), **said, "statistics": statistics}


def _counts(splits: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={count}" for name, count in sorted(splits.items()))


# Which files


def _tables(source: Path, format: str) -> tuple[str, dict[str, Path]]:
    """The format, and path in the source → file, in the paths' order."""
    if source.is_file():
        found = format or _format_of(source.name)
        if found not in SUFFIXES:
            raise NotMeasured(f"{source.name} is no Parquet, CSV or JSON lines by its name")
        return found, {source.name: source}
    files = {each.relative_to(source).as_posix(): each for each in sorted(source.rglob("*")) if each.is_file()}
    files = {path: each for path, each in files.items() if not any(part.startswith(".") for part in path.split("/"))}
    formats = {path: _format_of(path) for path in files}
    kinds = sorted({kind for kind in formats.values() if kind})
    if format not in ("", *SUFFIXES) or not kinds:
        raise NotMeasured("there are no Parquet, CSV or JSON lines files by their names")
    if not format:
        if len(kinds) > 1:
            raise NotMeasured(f"there are files of several formats: {', '.join(kinds)}; name one of them")
        others = [path for path, kind in formats.items() if not kind and not path.endswith(BESIDE)]
        if others:
            raise NotMeasured(f"there are other files than {kinds[0]}, such as {others[0]}; name the format")
    elif format not in kinds:
        raise NotMeasured(f"no file ends with {' or '.join(SUFFIXES[format])}")
    found = format or kinds[0]
    return found, {path: files[path] for path, kind in formats.items() if kind == found}


def _format_of(name: str) -> str:
    return next((format for format, ends in SUFFIXES.items() if name.lower().endswith(ends)), "")


def split_of(path: str) -> str:
    """The split that a path names in its last folder or file that names one; empty for none."""
    words = {word: split for split, words in SPLITS.items() for word in words}
    for part in reversed(path.lower().split("/")):
        for word in re.split(r"[^a-z]+", part):
            if word in words:
                return words[word]
    return ""


# Reading


def _connection() -> duckdb.DuckDBPyConnection:
    try:
        import duckdb
    except ImportError:
        raise NotMeasured(
            "it needs duckdb, which is not installed; pip install 'forgelog[datasets]' (or duckdb)"
        ) from None
    # What is read is data: nothing is fetched for it.
    return duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})


class _Reader:
    def __init__(self, connection: duckdb.DuckDBPyConnection, format: str, files: Mapping[str, Path]) -> None:
        self._connection = connection
        self._format = format
        self._files = files
        self._options: dict[str, str] = {}

    def measured(self) -> Measured:
        columns = self._schema()
        (samples,) = self._row("select count(*)", self._files)
        if not samples:
            raise InvalidInput(f"{named(self._files)}: has no samples; --no-measure registers it as it is")
        statistics: dict[str, dict[str, Any]] = {}
        names = list(columns)
        for first in range(0, len(names), _GROUP):
            group = {name: columns[name] for name in names[first : first + _GROUP]}
            statistics |= self._statistics(group, samples)
        types = {
            name: type if len(type) <= _MAX_TYPE else f"{type[: _MAX_TYPE - 1]}…" for name, type in columns.items()
        }
        return Measured(self._format, samples, len(columns), self._splits(samples), types, statistics)

    def _schema(self) -> dict[str, str]:
        """Column → type of all files together. Raises InvalidInput for files that do not go together."""
        schemas: dict[str, dict[str, str]] = {}
        for path, file in self._files.items():
            if file.stat().st_size == 0:
                raise InvalidInput(f"{path}: is empty; leave it out")
            if self._format == "csv":
                self._options |= self._layout(path, file)
            schemas[path] = self._described({path: file})
        first, expected = next(iter(schemas.items()))
        for path, schema in schemas.items():
            if self._format != "jsonl" and (stray := sorted(schema.keys() ^ expected.keys())):
                has = path if stray[0] in schema else first
                raise InvalidInput(f"{path}: does not go with {first}: only {has} has a column {stray[0]!r}")
            if self._format == "parquet":
                for name, type in schema.items():
                    if type != expected[name]:
                        problem = f"{name!r} is {type}, and {expected[name]} there"
                        raise InvalidInput(f"{path}: does not go with {first}: {problem}")
        columns = self._described(self._files)
        if len(columns) > MAX_COLUMNS:
            problem = f"has {len(columns)} columns, and a dataset is described by at most {MAX_COLUMNS}"
            raise InvalidInput(f"{first}: {problem}; --no-measure registers it as it is")
        for name in columns:
            if not 0 < len(name) <= 250 or not name.isprintable():
                raise InvalidInput(
                    f"{first}: {name[:50]!r} is no name of a column; give it 1 to 250 printable characters"
                )
        return columns

    def _described(self, files: Mapping[str, Path]) -> dict[str, str]:
        rows = self._rows("describe select *", files)
        return {str(row[0]): str(row[1]) for row in rows}

    def _layout(self, path: str, file: Path) -> dict[str, str]:
        """How a CSV file is divided: else a line of another length would change what all lines are taken for."""
        try:
            with opened(file) as lines:
                line = lines.readline(1_000_000)
        except UnicodeDecodeError:
            raise InvalidInput(f"{path}: is not UTF-8; write it as UTF-8, or --no-measure") from None
        except (OSError, EOFError) as error:
            raise InvalidInput(f"{path}: can't be read: {error}") from None
        delimiter = max(_DELIMITERS, key=line.count)
        cells = next(csv.reader([line], delimiter=delimiter), [])
        named = all(cell and not _NUMBER.fullmatch(cell) for cell in cells)
        return {"delim": _text(delimiter), "header": str(named).lower()}

    def _statistics(self, columns: Mapping[str, str], samples: int) -> dict[str, dict[str, Any]]:
        wanted = [part for name, type in columns.items() for part in _aggregates(name, type, samples)]
        row = iter(self._row(f"select {', '.join(wanted)}", self._files))
        found: dict[str, dict[str, Any]] = {}
        for name, type in columns.items():
            found[name] = {key: value for key in _keys(type) if (value := next(row)) is not None}
        few = [name for name, each in found.items() if 0 < each.get("distinct", 0) <= FEW]
        if few:
            counted = ", ".join(f"histogram(({_present(name, columns[name])})::varchar)" for name in few)
            for name, counts in zip(few, self._row(f"select {counted}", self._files), strict=True):
                found[name]["distinct"] = len(counts)
                found[name]["frequent"] = {
                    value: count
                    for value, count in sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:FEW]
                    if count >= LEAST_OFTEN and 0 < len(value) <= 250 and value.isprintable()
                }
        self._count_bins(columns, found, samples)
        return found

    def _count_bins(self, columns: Mapping[str, str], found: dict[str, dict[str, Any]], samples: int) -> None:
        """Add `edges` and `bins` to the numbers among these columns."""
        numbers = {
            name: f"({_present(name, columns[name])})::double" for name, each in found.items() if "least" in each
        }
        if not numbers:
            return
        # Exact ones need all values in memory.
        kind = "quantile_disc" if samples <= EXACT_SAMPLES else "approx_quantile"
        wanted = [f"{kind}({x}, {[*DECILES]}) filter (isfinite({x}))" for x in numbers.values()]
        edges = {
            name: edges_of(deciles, found[name]["least"])
            for name, deciles in zip(numbers, self._row(f"select {', '.join(wanted)}", self._files), strict=True)
        }
        edges = {name: bounds for name, bounds in edges.items() if bounds}
        below = [f"count(*) filter ({numbers[name]} <= {edge!r})" for name, bounds in edges.items() for edge in bounds]
        row = iter(self._row(f"select {', '.join(below)}", self._files) if below else ())
        for name, bounds in edges.items():
            cumulated = [0, *(next(row) for _ in bounds), found[name]["count"]]
            found[name]["edges"] = bounds
            found[name]["bins"] = [after - before for before, after in pairwise(cumulated)]

    def _splits(self, samples: int) -> dict[str, int]:
        """Split → samples, if every file is of one."""
        parts: dict[str, dict[str, Path]] = {}
        for path, file in self._files.items():
            parts.setdefault(split_of(path), {})[path] = file
        if "" in parts:
            return {}
        return {
            split: samples if len(parts) == 1 else self._row("select count(*)", files)[0]
            for split, files in parts.items()
        }

    def _row(self, select: str, files: Mapping[str, Path]) -> Sequence[Any]:
        (row,) = self._rows(select, files)
        return tuple(row)

    def _rows(self, select: str, files: Mapping[str, Path]) -> list[Any]:
        import duckdb

        try:
            return self._connection.execute(
                f"{select} from {self._source()}", [[glob.escape(str(file)) for file in files.values()]]
            ).fetchall()
        except duckdb.InterruptException:
            raise
        except duckdb.Error as error:
            reason = (bad_line(files) if self._format == "jsonl" else "") or reason_of(error)
            raise InvalidInput(f"{named(files)}: can't be read as {self._format}: {reason}") from None

    def _source(self) -> str:
        match self._format:
            case "parquet":
                return "read_parquet($1, hive_partitioning = false)"
            case "csv":
                options = "".join(f", {name} = {value}" for name, value in self._options.items())
                # Left to itself it skips lines until the rest goes together.
                common = "quote = '\"', escape = '\"', skip = 0, comment = '', " + _ALL_LINES
                return f"read_csv($1, {common}{options})"
        return f"read_json($1, format = 'newline_delimited', {_ALL_LINES})"


# Of a column


def _keys(type: str) -> tuple[str, ...]:
    """What `_aggregates` asks of a column."""
    if _number(type):
        return "count", "nulls", "distinct", "mean", "deviation", "least", "most"
    return ("count", "nulls", "distinct") if _SCALARS.match(type) else ("count", "nulls")


def _aggregates(name: str, type: str, samples: int) -> Iterator[str]:
    present = _present(name, type)
    yield f"count({present})"
    yield f"count(*) - count({present})"
    keys = _keys(type)
    if "distinct" in keys:
        yield (
            f"count(distinct {present})"
            if samples <= EXACT_SAMPLES
            else f"least(approx_count_distinct({present}), count({present}))"
        )
    if "mean" in keys:
        number = f"({present})::double"
        squared = f"filter (abs({number}) <= {_LARGEST})"
        yield f"avg({number}) {squared}"
        yield f"stddev_samp({number}) {squared}"
        yield f"min({number}) filter (isfinite({number}))"
        yield f"max({number}) filter (isfinite({number}))"


def edges_of(deciles: Sequence[float], least: float) -> list[float]:
    """Bounds of bins between deciles, equal ones joined, ascending. Where a tenth or more of the values is the least
    one there is a bound just below it too, for what is less than all."""
    bounds = sorted({float(f"{value + abs(value) * _NUDGE:.9g}") for value in deciles if abs(value) < _LARGEST})
    if bounds and min(deciles) <= least:
        bounds.insert(0, float(f"{least - abs(least) * _NUDGE:.9g}") if least else -1e-300)
    return bounds


def _present(name: str, type: str) -> str:
    """A column's values that are there: NaN is missing, as it is to those who train."""
    quoted = '"' + name.replace('"', '""') + '"'
    return f"case when isnan({quoted}) then null else {quoted} end" if type in ("FLOAT", "DOUBLE") else quoted


def _number(type: str) -> bool:
    return type == "BOOLEAN" or _NUMBERS.match(type) is not None


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
