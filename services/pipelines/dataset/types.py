"""Which type of a column holds all values of another. Pure; types are DuckDB's, in its own words."""

from __future__ import annotations

import re

_ALIASES = {
    "INT1": "TINYINT",
    "INT2": "SMALLINT",
    "SHORT": "SMALLINT",
    "INT": "INTEGER",
    "INT4": "INTEGER",
    "SIGNED": "INTEGER",
    "INT8": "BIGINT",
    "LONG": "BIGINT",
    "INT128": "HUGEINT",
    "FLOAT4": "FLOAT",
    "REAL": "FLOAT",
    "FLOAT8": "DOUBLE",
    "NUMERIC": "DECIMAL",
    "DEC": "DECIMAL",
    "BOOL": "BOOLEAN",
    "LOGICAL": "BOOLEAN",
    "STRING": "VARCHAR",
    "TEXT": "VARCHAR",
    "CHAR": "VARCHAR",
    "BPCHAR": "VARCHAR",
    "BYTEA": "BLOB",
    "BINARY": "BLOB",
    "VARBINARY": "BLOB",
    "DATETIME": "TIMESTAMP",
    "TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE",
    "TIMETZ": "TIME WITH TIME ZONE",
}
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_LIST = re.compile(r"(.+)(\[\d*\])")
_BITS = {"TINYINT": 8, "SMALLINT": 16, "INTEGER": 32, "BIGINT": 64, "HUGEINT": 128}
_SIGNED_DIGITS = {8: 3, 16: 5, 32: 10, 64: 19, 128: 39}
_UNSIGNED_DIGITS = {8: 3, 16: 5, 32: 10, 64: 20, 128: 39}
_EXACT_BITS = {"FLOAT": 24, "DOUBLE": 53}
"""Whole numbers of so many bits are held exactly."""
_OTHERS = frozenset(
    {
        ("FLOAT", "DOUBLE"),
        ("DATE", "TIMESTAMP"),
        ("TIMESTAMP_S", "TIMESTAMP_MS"),
        ("TIMESTAMP_S", "TIMESTAMP"),
        ("TIMESTAMP_MS", "TIMESTAMP"),
    }
)


def canonical(type: str) -> str:
    """A type as DuckDB's DESCRIBE writes it. Structs, maps and enums are left as they are: case counts in them."""
    text = type.strip()
    if listed := _LIST.fullmatch(text):
        return canonical(listed[1]) + listed[2]
    base, opening, rest = text.partition("(")
    word = " ".join(base.upper().split())
    word = _ALIASES.get(word, word)
    if word == "VARCHAR":
        return word  # DuckDB reads a length and does not keep it
    if word == "DECIMAL":
        given = [part.strip() for part in rest.rstrip(")").split(",")] if opening else ["18", "3"]
        return f"DECIMAL({given[0]},{given[1] if len(given) > 1 else 0})"
    return f"{word}{opening}{rest}"


def widens(old: str, new: str) -> bool:
    """Whether every value of `old` is one of `new`, and they are not the same type."""
    old, new = canonical(old), canonical(new)
    if old == new:
        return False
    if old == '"NULL"':
        return True
    lists = _LIST.fullmatch(old), _LIST.fullmatch(new)
    if lists[0] and lists[1]:
        same = lists[0][1] == lists[1][1]
        return lists[1][2] in ("[]", lists[0][2]) and (same or widens(lists[0][1], lists[1][1]))
    if whole := _whole(old):
        return _holds_whole(new, *whole)
    decimals = _DECIMAL.fullmatch(old), _DECIMAL.fullmatch(new)
    if decimals[0] and decimals[1]:
        (precision, scale), (wider, finer) = map(int, decimals[0].groups()), map(int, decimals[1].groups())
        return finer >= scale and wider - finer >= precision - scale
    return (old, new) in _OTHERS or (old.startswith("ENUM(") and new == "VARCHAR")


def _whole(type: str) -> tuple[int, bool] | None:
    """Bits, and whether there is a sign; None of what is no type of whole numbers."""
    if type in _BITS:
        return _BITS[type], True
    return (_BITS[type[1:]], False) if type.startswith("U") and type[1:] in _BITS else None


def _holds_whole(new: str, bits: int, signed: bool) -> bool:
    if whole := _whole(new):
        wider, with_sign = whole
        return wider > bits if with_sign else wider > bits and not signed
    if decimal := _DECIMAL.fullmatch(new):
        digits = (_SIGNED_DIGITS if signed else _UNSIGNED_DIGITS)[bits]
        return int(decimal[1]) - int(decimal[2]) >= digits
    return bits - signed <= _EXACT_BITS.get(new, 0)
