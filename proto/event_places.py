"""Where each event is decided, handled, projected and queried: docs/reference/events.md.

Read from the sources of the services that the registry of contexts names. A module decides an event if a function of it
makes one or hands its class on; it handles an event if a function or a table of it names the class otherwise. Nothing
of a service is imported: it needs messages that are generated later.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from events.language.base import Event
from events.language.common import LogEvent
from events.language.contexts import contexts
from events.language.registry import event_types
from proto.shapes import told_apart

ROOT = Path(__file__).resolve().parent.parent
TARGET = "docs/reference/events.md"

_HEAD = """\
# Where an event is decided, projected and queried

<!-- Generated from the sources of the services by `make proto`: not to be changed here. -->

What each event means and holds is in [the language](language.md), what each module is for in
[the layout](../layout.md#an-events-way).

- **decided in**: where it is made, because of a command, another event, or the time.
- **handled in**: where it changes a state (`fold`), leads to other events (`decide`), or is carried out (`agent`).
- **projected in**: where it changes rows. Where that is in two contexts, both have tables that show it.
- **queried in**: what answers from those rows. The events themselves are answered from the context's history
  ([`events/queries/history.py`](../../events/queries/history.py)).
"""
_LOG = """
## The log's own

Every log has these. The epoch rule reads `WriterStarted` ([`events/log/positions.py`](../../events/log/positions.py)).
An operator's decisions about a record, `RecordSkipped` and `RecordRetried`, have a topic of their own and no table:
`forgelog repair --decided` lists them from it ([`forgelog/cli/repair.py`](../../forgelog/cli/repair.py)).
"""


@dataclass
class Module:
    """What a source says of events."""

    path: Path
    made: set[type[Event]] = field(default_factory=set)
    named: set[type[Event]] = field(default_factory=set)
    projects: bool = False
    answers: bool = False
    imports: set[Path] = field(default_factory=set)


def documents() -> dict[str, str]:
    """The document by its path below the repository."""
    return {TARGET: "\n".join([_HEAD.rstrip(), *_sections()]) + "\n"}


def _sections() -> Iterator[str]:
    own = {spec.name: _modules(spec.package.replace(".", "/")) for spec in contexts().values()}
    projecting = {context: _projecting(modules) for context, modules in own.items()}
    for context in own:
        yield from ("", f"## {context.capitalize()}", "", *_title("decided", "handled", "projected", "queried"))
        first = [context, *(name for name in own if name != context)]
        rest = [module for name in first for module in own[name] if module not in projecting[name]]
        for event in _events(context):
            rows = {name: [module for module in projecting[name] if event in module.named] for name in first}
            # A projection is given all events of its own context, and may treat some alike.
            rows[context] = rows[context] or projecting[context][:1]
            projected = [module for name in first for module in rows[name]]
            queried = [module for name in first if rows[name] for module in own[name] if module.answers]
            yield _row(event, *_made_and_named(rest, event), projected, queried)
    yield from (_LOG, *_title("decided", "handled"))
    rest = [
        *_modules("events/log"),
        *_modules("events/writer"),
        *(each for modules in own.values() for each in modules),
    ]
    for event in _events(LogEvent.context):
        yield _row(event, *_made_and_named(rest, event))


def _events(context: str) -> list[type[Event]]:
    return [event for event in event_types().values() if event.context == context]


def _modules(folder: str) -> list[Module]:
    return [read(path) for path in sorted((ROOT / folder).rglob("*.py"))]


def _projecting(modules: list[Module]) -> list[Module]:
    """A context's projection, and what of its package that imports."""
    found = [module for module in modules if module.projects]
    for module in found:
        found += [other for other in modules if other.path in module.imports and other not in found]
    return found


def _made_and_named(modules: list[Module], event: type[Event]) -> Iterator[list[Module]]:
    yield [module for module in modules if event in module.made]
    yield [module for module in modules if event in module.named]


def _title(*columns: str) -> tuple[str, str]:
    return f"| event | {' | '.join(f'{column} in' for column in columns)} |", "|---" * (len(columns) + 1) + "|"


def _row(event: type[Event], *places: Iterable[Module]) -> str:
    paths = ([module.path.relative_to(ROOT).as_posix() for module in modules] for modules in places)
    links = (", ".join(f"[`{path.removeprefix('services/')}`](../../{path})" for path in cell) for cell in paths)
    name = told_apart(event)
    return f"| [`{name}`](language-types.md#{name.lower().replace('.', '')}) | {' | '.join(links)} |"


def read(path: Path) -> Module:
    """What a source says."""
    tree, module = ast.parse(path.read_text()), Module(path)
    known: dict[str, type[Event]] = {}
    nodes = list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            folder = ROOT.joinpath(*node.module.split("."))
            module.imports |= {folder.with_suffix(".py"), *(folder / f"{alias.name}.py" for alias in node.names)}
            language = import_module(node.module) if node.module.startswith("events.language") else None
            for alias in node.names:
                kind = getattr(language, alias.name, None)
                if isinstance(kind, type) and issubclass(kind, Event):
                    known[alias.asname or alias.name] = kind
        elif isinstance(node, ast.ClassDef):
            module.projects |= "Projection" in map(ast.unparse, node.bases)
            module.answers |= any(ast.unparse(base).endswith("QueriesServicer") for base in node.bases)
    if not known:  # most modules name no event
        return module
    # Not the attributes of a class: a decider lists its events there.
    tables = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    made = {id(name) for function in functions for node in ast.walk(function) for name in _made(node)}
    left_out = {id(name) for node in nodes for name in _left_out(node)}
    for node in (node for whole in (*tables, *functions) for node in ast.walk(whole)):
        if isinstance(node, ast.Name) and node.id in known and id(node) not in left_out:
            (module.made if id(node) in made else module.named).add(known[node.id])
    return module


def _made(node: ast.AST) -> Iterator[ast.AST]:
    """Names of classes that are called, given to a function, or taken as a value."""
    if isinstance(node, ast.Call):
        if not (isinstance(node.func, ast.Name) and node.func.id in ("isinstance", "issubclass")):
            yield from (node.func, *node.args)
    elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        yield from (node.value, *(node.value.elts if isinstance(node.value, ast.Tuple) else ()))


def _left_out(node: ast.AST) -> Iterator[ast.AST]:
    """Types of variables and results, and what is asked of a class itself (`type_name`). The types of arguments count:
    a function that takes an event handles it."""
    if isinstance(node, ast.AnnAssign):
        yield from ast.walk(node.annotation)
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
        yield from ast.walk(node.returns)
    elif isinstance(node, ast.Attribute):
        yield node.value
