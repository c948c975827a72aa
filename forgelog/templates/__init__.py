"""The templates of experiments that come with Forgelog: a folder each, with a `template.yaml` and the files that an
experiment's folder begins with."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent


def names() -> list[str]:
    """Those that there are."""
    return sorted(each.parent.name for each in _HERE.glob("*/template.yaml"))


def folder(name: str) -> Path:
    """The folder of one of `names`."""
    return _HERE / name
