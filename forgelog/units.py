"""Units people write: ``4Gi``, ``512M``, ``90s``, ``1h30m``. Knows nothing of manifests."""

from __future__ import annotations

import re

_SIZE = re.compile(r"^([0-9]+(?:\.[0-9]+)?) ?([kKMGTP]i?)?B?$")
_FACTORS = {"": 1} | {
    name + suffix: base**power
    for power, name in enumerate("KMGTP", start=1)
    for suffix, base in (("", 1000), ("i", 1024))
}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


def quoted(text: str) -> str:
    """A user's text as an error message quotes it, never long. (`events.language.common.shown` loads pydantic.)"""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def parse_bytes(text: str) -> int:
    """``"4Gi"``, ``"512M"``, ``"1.5 GiB"`` or a plain number of bytes. Raises ValueError that says what to write."""
    match = _SIZE.match(text.strip())
    if match is None:
        raise ValueError(f"{quoted(text)} is not an amount of memory; write for example 512Mi, 4Gi or 10G")
    amount, unit = match[1], (match[2] or "").replace("k", "K")
    # Whole amounts stay integers: a float would lose bytes above 2**53.
    return int(amount) * _FACTORS[unit] if "." not in amount else int(float(amount) * _FACTORS[unit])


def parse_duration(text: str) -> float:
    """``"90s"``, ``"2h"``, ``"1h30m"``, ``"500ms"`` or a plain number of seconds, in seconds. Raises ValueError."""
    stripped = text.strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", stripped):
        return float(stripped)
    parts = _DURATION.findall(stripped)
    if not parts or _DURATION.sub("", stripped).strip():
        raise ValueError(f"{quoted(text)} is not a duration; write for example 90s, 15m, 2h or 1h30m")
    return float(sum(float(amount) * _SECONDS[unit] for amount, unit in parts))


def parse_cpus(text: str) -> float:
    """``"2"``, ``"0.5"`` or thousandths as in Kubernetes, ``"500m"``. Raises ValueError."""
    stripped = text.strip()
    if re.fullmatch(r"[0-9]+m", stripped):
        return int(stripped[:-1]) / 1000
    try:
        return float(stripped)
    except ValueError:
        raise ValueError(f"{quoted(text)} is not a number of CPUs; write for example 2, 0.5 or 500m") from None


def format_bytes(amount: int) -> str:
    """1610612736 as ``1.5Gi``; the largest binary unit that gives at least 1."""
    value = float(amount)
    for unit in ("", "Ki", "Mi", "Gi", "Ti"):
        if value < 1024:
            return f"{value:.1f}".rstrip("0").rstrip(".") + unit
        value /= 1024
    return f"{value:.1f}".rstrip("0").rstrip(".") + "Pi"


def format_duration(seconds: float) -> str:
    """3725 as ``1h2m``, 4.25 as ``4.2s``: two units at most."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 59.5:
        return f"{seconds:.1f}".rstrip("0").rstrip(".") + "s"
    rest = round(seconds)
    parts = []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
        elif parts:
            break
    return "".join(parts[:2])


def counted(count: int, what: str) -> str:
    """``1 row``, ``2 rows``; of words whose plural takes an s."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
