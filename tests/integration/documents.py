"""The shell blocks of a document, run one after the other in one shell, and what they show compared with what came.

A block may have a comment before it, which readers of the page do not see. Its lines are:

    <!-- test
    skip: it installs packages          the block is not run, for this reason
    needs: kcat                         nor where there is no such program
    before: JOB=$(forgelog submit ...)  a line of shell that is run first; JOB in the block then stands for its value
    after: forgelog cancel JOB          a line of shell that is run afterwards
    fails: 2                            the last command's exit code; 0 unless said otherwise
    -->

In a `console` block a line that begins with `$ ` is a command, and what follows is what it shows, to the next
command; `...` stands for any lines, and in a line for any text. Ids of jobs that are shown stand for those that came,
from there on. Of a command without a shown line nothing is compared but its exit code. In an `sh` block every line is
a command. `forgelog watch` and `forgelog ps --watch` are interrupted once they have shown something. A `yaml` block
whose first line is `# NAME.yaml` is written to that file, and so is a `python` block that begins with `# NAME.py`. What
differs from run to run (ids, times, sizes, ports) is compared by its form.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_BLOCK = re.compile(
    r"(?:<!-- test\n(?P<test>.*?)-->\s*)?^ *```(?P<kind>\w+)\n(?P<text>.*?)^ *```", re.DOTALL | re.MULTILINE
)
FILES = ("yaml", "python")
"""Kinds of blocks that become files if they say their names."""
FILE_NAME = re.compile(r"# ([\w-]+\.(?:yaml|py))\n")
_STAYS = re.compile(r"^forgelog (watch|ps --watch|ps -w)\b(?!.* --until\b)")
"""Commands that do not end by themselves. One that does may be at its very end, and deaf, when it is interrupted."""


@dataclass(frozen=True, slots=True)
class Step:
    """A command and what it shows; None if nothing is said of it."""

    command: str
    shown: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a document."""

    line: int
    kind: str
    text: str
    directives: tuple[tuple[str, str], ...] = ()

    def said(self, name: str) -> list[str]:
        return [value for key, value in self.directives if key == name]

    @property
    def steps(self) -> list[Step]:
        return list(_console(self.text) if self.kind == "console" else _script(self.text))


def blocks_of(text: str, kinds: Collection[str] = ("sh", "console", *FILES)) -> list[Block]:
    """The blocks of a document of these kinds; by default those that a shell or a file is made of."""
    found = []
    for match in _BLOCK.finditer(text):
        if match["kind"] in kinds:
            lines = [line.strip() for line in (match["test"] or "").splitlines() if line.strip()]
            directives = tuple(
                (key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in lines)
            )
            line = text[: match.start("text")].count("\n") + 1
            found.append(Block(line, match["kind"], textwrap.dedent(match["text"]), directives))
    return found


def _script(text: str) -> Iterator[Step]:
    """One step a command; a line that ends in a backslash or a pipe goes on."""
    command = ""
    for line in text.splitlines():
        command += line + "\n"
        if line.strip() and not re.search(r"(\\|\|)\s*$", line):
            yield Step(command.strip())
            command = ""


def _console(text: str) -> Iterator[Step]:
    command, shown = "", []
    for line in text.splitlines():
        if line.startswith("$ "):
            if command:
                yield Step(command, tuple(shown) or None)
            command, shown = line[2:], []
        else:
            shown.append(line)
    if command:
        yield Step(command, tuple(shown) or None)


_JOB = re.compile(r"\bj[a-z0-9]{12,13}\b")

FORMS: Sequence[tuple[re.Pattern[str], str]] = [
    (re.compile(pattern), name)
    for pattern, name in (
        (_JOB.pattern, "JOB"),
        (rf"\b(laptop|{re.escape(socket.gethostname())})-\d+\b", "NODE"),
        (r"127\.0\.0\.1:\d+", "ADDRESS"),
        (r"\d{4}-\d\d-\d\d( |T)\d\d:\d\d:\d\d(\.\d+)?Z?", "TIME"),
        (r"\b\d\d:\d\d:\d\d(\.\d+)?", "TIME"),
        (r"\b\d+(\.\d+)? ?([KMGT]iB|[KMGT]i|MB)\b", "SIZE"),
        (r"\b(jobs|scheduling|resources)/\d+@\d+", r"\1/POSITION"),
        (r"\b(\d+(\.\d+)?(ms|s|m|h|d))+( ago)?\b|\bnow\b|\b\d+(\.\d+)? s\b", "SPAN"),
        (r"\b(\d+(\.\d+)?)/(\d+(\.\d+)?)\b", "SHARE"),
        (r"\b\d+(\.\d+)? cpus\b", "CPUS"),
        (r"the node has \d+(\.\d+)?", "the node has N"),
        (r"\b\d{3,}\b", "NUMBER"),
        (r"/[^ ]*\.forgelog\b", "DATA"),
    )
]
"""What differs from run to run, and what stands for it."""


def formed(line: str) -> str:
    """A line as it is compared: what differs from run to run by its form, and one space for many."""
    for pattern, name in FORMS:
        line = pattern.sub(name, line)
    return " ".join(line.split())


def difference(shown: Sequence[str], came: Sequence[str]) -> str:
    """Where what came is not what was shown; empty if nowhere. `...` stands for any lines."""
    wanted, given = [formed(line) for line in shown], [formed(line) for line in came]
    while given and not given[-1]:
        given.pop()
    while wanted and not wanted[-1]:
        wanted.pop()
    pattern = "".join(
        "(.*\n)*?" if line == "..." else ".*".join(map(re.escape, line.split("..."))) + "\n" for line in wanted
    )
    if re.fullmatch(pattern, "".join(f"{line}\n" for line in given)):
        return ""
    return "shown:\n  {}\ncame:\n  {}".format("\n  ".join(wanted), "\n  ".join(given))


@dataclass
class Shell:
    """One bash for a whole document. Blocks are run in its folder, with what earlier ones left there."""

    folder: Path
    environment: dict[str, str]
    replaced: dict[str, str] = field(default_factory=dict)
    """What a document writes → what it is here (addresses; and words that `before` gave a value)."""

    def __post_init__(self) -> None:
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        self._number = 0

    def close(self) -> None:
        assert self._bash.stdin is not None
        self._bash.stdin.close()
        self._bash.wait()

    def run(self, command: str) -> tuple[int, list[str]]:
        """A command's exit code and what it showed, errors included."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._number += 1
        mark = f"--- {os.getpid()}/{self._number} "
        # `$?` is kept for the next command, as at a prompt.
        self._bash.stdin.write(
            f"{{ {command}\n}} </dev/null\n__code=$?; printf '\\n{mark}%d\\n' $__code; (exit $__code)\n"
        )
        self._bash.stdin.flush()
        lines: list[str] = []
        for line in self._bash.stdout:
            if line.startswith(mark):
                return int(line.removeprefix(mark)), lines[:-1] if lines and not lines[-1] else lines
            lines.append(line.rstrip("\n"))
        raise AssertionError(f"the shell ended at {command!r}: {lines}")

    def block(self, block: Block) -> list[str]:
        """Run a block; what is wrong with it."""
        if block.kind in FILES:
            if name := FILE_NAME.match(block.text):
                (self.folder / name[1]).write_text(block.text)
            return []
        problems: list[str] = []
        for line in map(self._here, block.said("before")):
            code, came = self.run(line)
            if code:
                problems.append(f"before: {line}: exit code {code}: {came}")
            if name := re.match(r"([A-Z]+)=", line):
                self.replaced[name[1]] = "\n".join(self.run(f'printf %s "${name[1]}"')[1])
        expected = int((block.said("fails") or ["0"])[0])
        for number, step in enumerate(steps := block.steps):
            wanted = expected if number == len(steps) - 1 else 0
            problems += self._step(step, wanted)
        for line in map(self._here, block.said("after")):
            code, came = self.run(line)
            if code:
                problems.append(f"after: {line}: exit code {code}: {came}")
        return problems

    def _step(self, step: Step, wanted: int) -> list[str]:
        command = self._here(step.command)
        if _STAYS.match(command):
            return self._stays(command)
        code, came = self.run(command)
        problems = [] if code == wanted else [f"$ {command}\nexit code {code}, not {wanted}:\n" + "\n".join(came)]
        if step.shown is not None:
            if found := difference(step.shown, came):
                problems.append(f"$ {command}\n{found}")
            shown, here = (_JOB.findall("\n".join(lines)) for lines in (step.shown, came))
            if len(shown) == len(here):
                self.replaced.update(zip(shown, here, strict=True))
        return problems

    def _here(self, text: str) -> str:
        for word, value in self.replaced.items():
            text = re.sub(rf"(?<![\w$]){re.escape(word)}(?![\w=])", lambda _, value=value: value, text)
        return text

    def _stays(self, command: str) -> list[str]:
        """Run a command that stays until Ctrl-C: interrupt it once it has shown something of a job."""
        words = command.partition(" #")[0]
        staying = subprocess.Popen(
            ["bash", "-c", f"exec {words}"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert staying.stdout is not None
        os.set_blocking(staying.stdout.fileno(), False)
        shown = b""
        while not shown and staying.poll() is None:
            self.run("forgelog run --memory 64Mi --cpus 0.1 -- true")
            shown = staying.stdout.read() or b""
        if staying.poll() is None:
            staying.send_signal(signal.SIGINT)
        code = staying.wait()
        return [] if shown and code in (0, 130) else [f"$ {words}\nexit code {code}: {shown.decode()}"]


def reason_to_skip(block: Block) -> str:
    """Why a block is not run here; empty if it is."""
    if skip := block.said("skip"):
        return skip[0]
    missing = [name for name in block.said("needs") if shutil.which(name) is None]
    return f"there is no {', '.join(missing)} here" if missing else ""


def prepare(folder: Path, root: Path) -> None:
    """What a reader has in the folder of a checkout: the environment, the examples."""
    (folder / ".venv").symlink_to(sys.prefix)
    shutil.copytree(root / "examples", folder / "examples")
