"""How rows are written in files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import shown
from events.language.pipelines.columns import MAX_COLUMNS, Column


def check_names(names: Iterable[str], what: str = "columns") -> None:
    """Raises ValueError where two names differ in nothing but the case of letters: DuckDB takes them for one."""
    twice = [name for name, count in Counter(name.lower() for name in names).items() if count > 1]
    if twice:
        raise ValueError(f"{what} has {shown(twice[0])} twice, case apart; give each name once")


def _each_once(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    check_names(column.name for column in columns)
    return columns


Columns = Annotated[tuple[Column, ...], Field(max_length=MAX_COLUMNS), AfterValidator(_each_once)]
"""The columns of a table, in their order."""


class FileFormat(StrEnum):
    """How rows are written in files."""

    PARQUET = "parquet"
    CSV = "csv"
    JSON = "json"
    """Objects, one a line or in one list."""
    AVRO = "avro"
    ARROW = "arrow"
    """Arrow's file format, also known as Feather, version 2; streams are read too."""
    DELTA = "delta"
    """A table of Delta Lake: a folder of Parquet files with a log."""


class Compression(StrEnum):
    """How the bytes of a file are made fewer."""

    AUTO = "auto"
    """Read: as the file's name or its footer says. Written: zstd in Parquet, none in text, the format's usual one
    elsewhere."""
    NONE = "none"
    GZIP = "gzip"
    SNAPPY = "snappy"
    ZSTD = "zstd"
    LZ4 = "lz4"


_COMPRESSIONS = {
    FileFormat.PARQUET: frozenset(Compression),
    FileFormat.CSV: frozenset({Compression.AUTO, Compression.NONE, Compression.GZIP, Compression.ZSTD}),
    FileFormat.JSON: frozenset({Compression.AUTO, Compression.NONE, Compression.GZIP, Compression.ZSTD}),
    FileFormat.AVRO: frozenset({Compression.AUTO, Compression.NONE, Compression.GZIP, Compression.SNAPPY}),
    FileFormat.ARROW: frozenset({Compression.AUTO, Compression.NONE, Compression.LZ4, Compression.ZSTD}),
    FileFormat.DELTA: frozenset({Compression.AUTO, Compression.SNAPPY}),
}
"""Those that each format has and that are written here."""


class TextEncoding(StrEnum):
    """How the characters of a CSV file are bytes."""

    UTF_8 = "utf_8"
    """Also with a byte order mark."""
    UTF_16 = "utf_16"
    """With a byte order mark."""
    LATIN_1 = "latin_1"
    """ISO 8859-1; each sequence of bytes is text in it."""
    WINDOWS_1252 = "windows_1252"


OneCharacter = Annotated[str, StringConstraints(min_length=1, max_length=1)]
OptionalCharacter = Annotated[str, StringConstraints(max_length=1)]


class CsvOptions(Model):
    """How a CSV file is laid out. Nothing is guessed but the types of columns without a schema."""

    delimiter: OneCharacter = ","
    quote: OptionalCharacter = '"'
    """Empty: no value is quoted."""
    escape: OptionalCharacter = '"'
    header: bool = True
    """Whether the first line has the columns' names. Without it they are ``column0``, ``column1`` … or
    those that the source gives."""
    encoding: TextEncoding = TextEncoding.UTF_8
    null_text: Annotated[str, StringConstraints(max_length=100)] = ""
    """What stands for no value."""
    skip_lines: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Lines before the header."""
    comment: OptionalCharacter = ""
    """Lines that begin with it are left out."""
    decimal: OneCharacter = "."
    date_format: Annotated[str, StringConstraints(max_length=100)] = ""
    """By the codes of `strftime`, such as ``%d.%m.%Y``; empty: ISO 8601."""
    timestamp_format: Annotated[str, StringConstraints(max_length=100)] = ""
    max_bad_rows: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """How many lines of all files together may be unreadable and are left out; one more is an error."""

    @model_validator(mode="after")
    def _apart(self) -> CsvOptions:
        marks = [mark for mark in (self.delimiter, self.quote, self.comment) if mark]
        if len(set(marks)) < len(marks):
            raise ValueError("delimiter, quote and comment are not three different characters; change one")
        if "\n" in marks or "\r" in marks:
            raise ValueError("a line break is no delimiter, quote or comment; give another character")
        return self


class JsonLayout(StrEnum):
    """How objects stand in a file of JSON."""

    AUTO = "auto"
    """Read: one behind the other or in a list, as the file has them. Written: as lines."""
    LINES = "lines"
    """One on each line."""
    LIST = "list"
    """The file is one list of them."""


class DataFormat(Model):
    """How rows are written in files: the format, and what is particular in it."""

    type: FileFormat
    compression: Compression = Compression.AUTO
    csv: CsvOptions | None = None
    """Of CSV; none: as `CsvOptions` has it."""
    json_layout: JsonLayout = JsonLayout.AUTO
    """Of JSON."""
    row_group_rows: Annotated[int, Field(ge=2_048, le=10_000_000)] = 122_880
    """Rows that Parquet keeps together, when it is written."""

    @model_validator(mode="after")
    def _of_one_format(self) -> DataFormat:
        if self.csv is not None and self.type is not FileFormat.CSV:
            raise ValueError(f"csv is given and type is {self.type}; leave csv out or make the type csv")
        if self.compression not in _COMPRESSIONS[self.type]:
            known = ", ".join(sorted(_COMPRESSIONS[self.type]))
            raise ValueError(f"{self.type} has no compression {self.compression} here; choose {known}")
        return self


ENDINGS = {
    ".parquet": FileFormat.PARQUET,
    ".pq": FileFormat.PARQUET,
    ".csv": FileFormat.CSV,
    ".tsv": FileFormat.CSV,
    ".json": FileFormat.JSON,
    ".jsonl": FileFormat.JSON,
    ".ndjson": FileFormat.JSON,
    ".avro": FileFormat.AVRO,
    ".arrow": FileFormat.ARROW,
    ".feather": FileFormat.ARROW,
}
"""By which names tell the format of a file."""

PACKED = {".gz": Compression.GZIP, ".zst": Compression.ZSTD}
"""Endings of text files whose bytes were made fewer."""


def format_of(name: str) -> DataFormat | None:
    """The format that a file's name tells; None for a name that tells none."""
    lower = name.lower()
    for packed in PACKED:
        lower = lower.removesuffix(packed)
    for ending, kind in ENDINGS.items():
        if lower.endswith(ending):
            if ending == ".tsv":
                return DataFormat(type=kind, csv=CsvOptions(delimiter="\t"))
            return DataFormat(type=kind)
    return None
