"""Values of Python as DuckDB's SQL writes them."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any


def literal(value: Any) -> str:
    """A value as a literal, in brackets where an operator could bind to a part of it.

    A text stays a literal without a type, so that it compares with dates and numbers as if it was written there.

    Raises:
        ValueError: SQL has no literal of it. The message says what it is.
    """
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(value) if value >= 0 else f"({value})"
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("is no finite number")
        return f"CAST('{value!r}' AS DOUBLE)"
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError("is no finite number")
        plain = f"{value:f}"
        return f"({plain})" if plain.startswith("-") else plain
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("has the character U+0000")
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, datetime):
        if value.tzinfo is None:
            return f"CAST('{value.isoformat(sep=' ')}' AS TIMESTAMP)"
        return f"CAST('{value.astimezone(UTC).isoformat(sep=' ')}' AS TIMESTAMPTZ)"
    if isinstance(value, date):
        return f"CAST('{value.isoformat()}' AS DATE)"
    if isinstance(value, time):
        return f"CAST('{value.isoformat()}' AS TIME)"
    if isinstance(value, timedelta):
        return f"to_microseconds({value // timedelta(microseconds=1)})"
    raise ValueError(f"is {type(value).__name__}")
