"""A small context, written into a folder under one name or several: contexts that are no part of Forgelog."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from events.language.contexts import VARIABLE

ROOT = Path(__file__).parents[1]

FILES = {
    "__init__.py": """
from events.language.contexts import ContextSpec

SPEC = ContextSpec("NAME", "notes", language=("copy_NAME.language",), service="copy_NAME")
""",
    "language.py": '''
from typing import ClassVar
from events.language.base import Command, Event

class AddNote(Command):
    """Write a note."""
    context: ClassVar[str] = "NAME"
    aggregate: ClassVar[str] = "NAMEnote"
    subject_from: ClassVar[str] = "note_id"
    key_from: ClassVar[str] = "note_id"
    note_id: str
    text: str

class NoteAdded(Event):
    """A note was written."""
    context: ClassVar[str] = "NAME"
    aggregate: ClassVar[str] = "NAMEnote"
    subject_from: ClassVar[str] = "note_id"
    key_from: ClassVar[str] = "note_id"
    note_id: str
    text: str
''',
    "decide.py": """
from copy_NAME.language import AddNote, NoteAdded
from events.writer.decider import Decider

class Notes(Decider[list[str]]):
    context = "NAME"
    aggregate = "NAMEnote"
    commands = (AddNote,)
    events = (NoteAdded,)

    def initial(self, key):
        return []

    def evolve(self, state, event, time):
        return [*state, event.text]

    def decide(self, state, command, context):
        return [NoteAdded(note_id=command.note_id, text=command.text)]
""",
    "projections.py": """
from copy_NAME.language import NoteAdded
from events.projections.projection import Projection, Table

NOTES = Table("notes", ("note_id",), {"note_id": "text", "text": "text"})

class NotesProjection(Projection):
    context = "NAME"
    tables = (NOTES,)

    def touches(self, recorded):
        if isinstance(recorded.data, NoteAdded):
            yield NOTES, (recorded.data.note_id,)

    def project(self, recorded, rows):
        if isinstance(recorded.data, NoteAdded):
            rows.put(NOTES, {"note_id": recorded.data.note_id, "text": recorded.data.text})

PROJECTION = NotesProjection()
""",
    "service.py": """
from copy_NAME.decide import Notes
from copy_NAME.projections import PROJECTION
from events.hosting import Service

SERVICE = Service(deciders=Notes, projection=PROJECTION, servicers=lambda answering: [])
""",
}
"""File of the context's package → its text, with NAME for the context's name."""


def write_copies(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """A context of each name; the variables by which a process knows them."""
    entries = []
    for name in names:
        package = folder / f"copy_{name}"
        package.mkdir(parents=True)
        for file, text in FILES.items():
            (package / file).write_text(text.replace("NAME", name))
        entries.append(f"copy_{name}:SPEC")
    path = [str(folder), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {VARIABLE: ",".join(entries), "PYTHONPATH": os.pathsep.join(path)}
