"""The synchronous client, `forgelog/client/sync.py`, from the asynchronous one in `forgelog/client/aio.py` and the
modules of the client that it imports.

Each class ``AsyncX`` there becomes ``X``, a `Blocking` with the same public methods, signatures and docstrings: a
coroutine is waited for, an asynchronous iterator becomes a plain one, an ``AsyncX`` that is returned becomes an ``X``.
A namespace that is added to `AsyncClient` therefore needs no code here. The sources are read and not imported, so a
wheel's build needs none of the client's packages.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from proto import GenerationError

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "forgelog/client"
TARGET = FOLDER / "sync.py"
PACKAGE = "forgelog.client."
START = "aio"
WIDTH = 120

ASYNC_ONLY = ("channel",)
"""Members that are of use with coroutines alone."""

_HEAD = '''\
"""`Client`: the asynchronous client for programs without coroutines. Each call runs on a loop in a thread of its own.

Every method has the arguments, the answer and the errors of its namesake in `forgelog/client/aio.py` and the modules
that it imports. Generated from them by `make proto`: change them there, not here.
"""

from __future__ import annotations
'''

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Module:
    """A module of the client, as text and as a tree."""

    name: str
    text: str
    classes: list[ast.ClassDef] = field(default_factory=list)
    homes: dict[str, str] = field(default_factory=dict)
    """Name → the module that it is imported from, or this one."""
    for_types: set[str] = field(default_factory=set)
    """Names that are imported for type checkers only."""
    below: list[str] = field(default_factory=list)
    """The client's modules that it imports, by their names without the package."""

    @classmethod
    def read(cls, path: Path) -> Module:
        module = cls(path.stem, path.read_text())
        for node in ast.parse(module.text).body:
            if isinstance(node, ast.ImportFrom):
                module._imported(node)
            elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                for each in node.body:
                    if isinstance(each, ast.ImportFrom):
                        module._imported(each)
                        module.for_types.update(alias.name for alias in each.names)
            elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                module.homes[node.name] = PACKAGE + module.name
                if isinstance(node, ast.ClassDef) and _is_async(node.name):
                    module.classes.append(node)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                module.homes |= {each.id: PACKAGE + module.name for each in targets if isinstance(each, ast.Name)}
        return module

    def _imported(self, node: ast.ImportFrom) -> None:
        home = node.module or ""
        self.homes |= {alias.asname or alias.name: home for alias in node.names}
        if home.startswith(PACKAGE):
            self.below.append(home.removeprefix(PACKAGE))


def modules(folder: Path = FOLDER) -> list[Module]:
    """The modules of the client that have a class to write, each after those that it imports."""
    found: dict[str, Module] = {}

    def visit(name: str) -> None:
        if name in found or not (path := folder / f"{name}.py").exists():
            return
        found[name] = module = Module.read(path)
        for below in sorted(module.below):
            visit(below)
        found[name] = found.pop(name)  # behind those below it

    visit(START)
    return [module for module in found.values() if module.classes]


def render(folder: Path = FOLDER) -> str:
    """The text of `forgelog/client/sync.py`. Raises `GenerationError` where a member has no plain counterpart."""
    sources = modules(folder)
    kinds = {node.name for module in sources for node in module.classes}
    imports = _Imports()
    imports.add("forgelog.client.loop", "Blocking", "BlockingClient", "Loop")
    imports.add("functools", "cached_property")
    classes = []
    for module in sources:
        for node in module.classes:
            classes.append(_Writer(module, node, kinds, imports).text())
    return _HEAD + "\n" + imports.text() + "\n\n" + "\n\n".join(classes)


def write(target: Path = TARGET) -> None:
    """Write the module. Raises `GenerationError`."""
    target.write_text(render())


class _Imports:
    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {}
        self._for_types: dict[str, set[str]] = {}
        self._homes: dict[str, str] = {}

    def add(self, home: str, *names: str, for_types: bool = False) -> None:
        """Raises `GenerationError` for a name that another module has, too: the module written has room for one."""
        for name in names:
            if (other := self._homes.setdefault(name, home)) != home:
                raise GenerationError(f"{name} is in {other} and in {home}; give one of them another name")
        (self._for_types if for_types else self._names).setdefault(home, set()).update(names)

    def text(self) -> str:
        if self._for_types:
            self.add("typing", "TYPE_CHECKING")
        lines = list(self._lines(self._names))
        if self._for_types:
            lines += ["", "if TYPE_CHECKING:", *(f"    {line}" for line in self._lines(self._for_types) if line)]
        return "\n".join(lines) + "\n"

    @staticmethod
    def _lines(names: Mapping[str, set[str]]) -> Iterator[str]:
        ours = False
        for home in sorted(names, key=lambda home: (_ours(home), home)):
            if _ours(home) and not ours and len(names) > 1:
                yield ""
            ours = _ours(home)
            some = sorted(names[home], key=lambda name: (not name.isupper(), name))
            line = f"from {home} import {', '.join(some)}"
            if len(line) <= WIDTH:
                yield line
            else:
                yield f"from {home} import ("
                yield from (f"    {name}," for name in some)
                yield ")"


class _Writer:
    """Writes one class."""

    def __init__(self, module: Module, node: ast.ClassDef, kinds: set[str], imports: _Imports) -> None:
        self._module, self._node, self._kinds, self._imports = module, node, kinds, imports
        members = {each.name: each for each in node.body if isinstance(each, Function)}
        self._opens = "__aenter__" in members
        self._calls = bool(members)

    def text(self) -> str:
        name = _plain(self._node.name)
        bases = [_plain(base) for base in map(ast.unparse, self._node.bases) if base in self._kinds]
        if self._calls:
            self._imports.add(PACKAGE + self._module.name, self._node.name)
            bases.append(f"{'BlockingClient' if self._opens else 'Blocking'}[{self._node.name}]")
        lines = [f"class {name}({', '.join(bases)}):" if bases else f"class {name}:"]
        if isinstance(self._node.body[0], ast.Expr):
            lines += [*self._source(self._node.body[0]), ""]
        body = self._node.body
        for node, follower in zip(body, [*body[1:], None], strict=True):
            lines += self._member(node, follower)
        while not lines[-1]:
            lines.pop()
        return "\n".join(lines) + "\n"

    def _member(self, node: ast.stmt, follower: ast.stmt | None) -> list[str]:
        if isinstance(node, Function):
            return self._function(node)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and _public(node.target.id):
            if kind := _namespace_of(node):
                return self._namespace(node.target.id, kind)
            about = self._source(follower) if isinstance(follower, ast.Expr) else []
            about = ["    " + line for line in about]
            self._needs(node.annotation)
            name, kind = node.target.id, _plain(ast.unparse(node.annotation))
            head = ["    @property", f"    def {name}(self) -> {kind}:"]
            return [*head, *about, f"        return self._async.{name}", ""]
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            return self._assigned(node.targets[0].id, node)
        return []

    def _assigned(self, name: str, node: ast.Assign) -> list[str]:
        if not _public(name) and name != "__call__":
            return []
        call = node.value
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "namespace":
            return self._namespace(name, ast.unparse(call.args[0]))
        self._needs(call)
        return [*self._source(node), *([""] if name == "__call__" else [])]

    @staticmethod
    def _namespace(name: str, kind: str) -> list[str]:
        made = f"        return {_plain(kind)}(self._async.{name}, self._loop)"
        head = ["    @cached_property", f"    def {name}(self) -> {_plain(kind)}:"]
        return [*head, f'        """See `{_plain(kind)}`."""', made, ""]

    def _function(self, node: Function) -> list[str]:
        decorators = [ast.unparse(each) for each in node.decorator_list]
        if node.name == "__init__" and self._opens:
            self._signature_needs(node)
            made = f"super().__init__({self._call(self._node.name, node)}, Loop())"
            return [*self._head(node), f"        {made}", ""]
        if not _public(node.name) or node.name in ASYNC_ONLY or (self._opens and node.name == "close"):
            return []
        if decorators not in ([], ["property"]):
            raise GenerationError(f"{self._where(node)}: @{decorators[0]} has no counterpart in the synchronous client")
        self._signature_needs(node)
        lines = ["    @property"] if decorators else []
        return [*lines, *self._head(node), *self._body(node), ""]

    def _body(self, node: Function) -> list[str]:
        returned = ast.unparse(node.returns) if node.returns is not None else "None"
        item = returned.removeprefix("list[").removesuffix("]")
        result = "{}"
        if returned.startswith("AsyncIterator["):
            result = "self._loop.iterate({})"
        elif isinstance(node, ast.AsyncFunctionDef):
            result = "self._loop.run({})"
        if returned in self._kinds:
            result = f"{_plain(returned)}({result}, self._loop)"
        elif returned != item and item in self._kinds:
            result = f"[{_plain(item)}(each, self._loop) for each in {result}]"
        elif any(isinstance(each, ast.Name) and each.id in self._kinds for each in ast.walk(node.returns or node)):
            raise GenerationError(f"{self._where(node)}: {returned} has no counterpart in the synchronous client")
        member = f"self._async.{node.name}"
        called = member if node.decorator_list else self._call(member, node)
        if returned != "None":
            result = f"return {result}"
        line = f"        {result.format(called)}"
        if len(line) <= WIDTH:
            return [line]
        return [f"        made = {self._call(member, node, broken=True)}", f"        {result.format('made')}"]

    def _head(self, node: Function) -> list[str]:
        """Signature and docstring, as they stand."""
        first = node.body[0]
        has_doc = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        end = first.end_lineno if has_doc else first.lineno - 1
        lines = self._lines(node.lineno, end or node.lineno)
        return [lines[0].replace("async def", "def", 1), *lines[1:]]

    @staticmethod
    def _call(called: str, node: Function, *, broken: bool = False) -> str:
        """The call with the function's own arguments; `broken`: each on a line of its own."""
        given = node.args
        arguments = [each.arg for each in [*given.posonlyargs, *given.args]][1:]
        if given.vararg:
            arguments.append(f"*{given.vararg.arg}")
        arguments += [f"{each.arg}={each.arg}" for each in given.kwonlyargs]
        if given.kwarg:
            arguments.append(f"**{given.kwarg.arg}")
        if broken:
            return "\n".join([f"{called}(", *(f"            {each}," for each in arguments), "        )"])
        return f"{called}({', '.join(arguments)})"

    def _signature_needs(self, node: Function) -> None:
        given = node.args
        some = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
        annotations = [each.annotation for each in some if each is not None]
        for each in [*annotations, *given.defaults, *given.kw_defaults, node.returns]:
            if each is not None:
                self._needs(each)

    def _needs(self, expression: ast.expr) -> None:
        """Import the names of an expression."""
        for each in ast.walk(expression):
            if not isinstance(each, ast.Name) or each.id in self._kinds:
                continue
            if each.id in self._module.homes:
                for_types = each.id in self._module.for_types
                self._imports.add(self._module.homes[each.id], _plain(each.id), for_types=for_types)
            elif not hasattr(builtins, each.id):
                raise GenerationError(f"{self._module.name}.py: {each.id} is neither imported nor defined there")

    def _source(self, node: ast.stmt) -> list[str]:
        return self._lines(node.lineno, node.end_lineno or node.lineno)

    def _lines(self, first: int, last: int) -> list[str]:
        return [_plain(line) for line in self._module.text.splitlines()[first - 1 : last]]

    def _where(self, node: Function) -> str:
        return f"{self._module.name}.py:{node.lineno}: {self._node.name}.{node.name}"


def _namespace_of(node: ast.AnnAssign) -> str:
    """The class of ``runs: namespace[AsyncRuns] = namespace()``; empty of any other."""
    kind = node.annotation
    if isinstance(kind, ast.Subscript) and ast.unparse(kind.value) == "namespace":
        return ast.unparse(kind.slice)
    return ""


def _ours(home: str) -> bool:
    return home.split(".")[0] in ("events", "forgelog", "forgelog_pb")


def _is_async(name: str) -> bool:
    return re.fullmatch(r"Async[A-Z]\w*", name) is not None


def _public(name: str) -> bool:
    return not name.startswith("_")


def _plain(text: str) -> str:
    """Names of the asynchronous half as those of the plain one, in code and in prose."""
    return re.sub(r"\bAsync(?=[A-Z])", "", text)
