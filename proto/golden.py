"""`python -m proto.golden`: writes a golden sample for every command and event version that has none.

tests/golden/ keeps one recorded value of every version ever shipped. They are history: an existing file is never
changed. When a version is raised, its old sample stays and must still be readable through an upcaster.
"""

from __future__ import annotations

import json
from pathlib import Path

from events.language.registry import command_types, event_types
from proto.generate import ROOT
from proto.samples import full

FOLDER = ROOT / "tests/golden"


def missing(folder: Path = FOLDER) -> list[str]:
    """Type names without a sample."""
    return [name for name in (*command_types(), *event_types()) if not (folder / f"{name}.json").exists()]


def write_missing(folder: Path = FOLDER) -> list[str]:
    """Records a sample for each type that has none; their names."""
    folder.mkdir(parents=True, exist_ok=True)
    types = {**command_types(), **event_types()}
    names = missing(folder)
    for name in names:
        record = {"type": name, "value": json.loads(full(types[name]).model_dump_json())}
        (folder / f"{name}.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    return names


if __name__ == "__main__":
    for written in write_missing():
        print(f"recorded {written}")
