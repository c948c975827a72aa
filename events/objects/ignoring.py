"""`.gitignore`: which files of a folder are kept out, as git decides it.

A pattern is held against a file or a folder itself, never against what lies below it, since nothing below a folder that
is kept out is looked at. The last pattern that fits decides, and those of a file deeper down come after those above. So
says gitignore(5). Patterns are translated by `pathspec`. Not read, other than by git: `.git/info/exclude`,
`core.excludesFile`, and what is tracked although it is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pathspec.patterns.gitignore import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

FILE = ".gitignore"

_ANY_FOLDER = "(?P<ps_d>/)"
_ANYTHING = "."
_BELOW_A_FOLDER = "/"
"""What `pathspec` makes of `*/`, of `*`, and of `*/**`."""
_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": " \t",
    "cntrl": "\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "0-~!-.",
    "lower": "a-z",
    "print": "0-~ -.",
    "punct": ":-@!-.[-`{-~",
    "space": " \t\n\r",
    "upper": "A-Z",
    "xdigit": "0-9a-fA-F",
}
"""The characters of git's classes but `/`, which no name has. None begins with a sign that negates."""
_CLASS = re.compile(r"\[:([^]]*):\]")


@dataclass(frozen=True, slots=True)
class Patterns:
    """What one file says."""

    base: str
    """Path of its folder, with a `/` at the end; empty for the uppermost."""
    regexes: tuple[tuple[re.Pattern[str], bool], ...]
    """In order; whether what fits is kept out."""

    def verdict(self, path: str, is_folder: bool) -> bool | None:
        """Whether a path below `base` is kept out; None if no pattern fits."""
        inner = path.removeprefix(self.base)
        for regex, out in reversed(self.regexes):
            if _fits(regex, inner, is_folder):
                return out
        return None


def parse(base: str, content: bytes) -> Patterns:
    """The patterns of a file. Lines that git can't read either are left out."""
    regexes = []
    for line in content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape").split("\n"):
        line = _plain(line.removesuffix("\r"))
        if line.endswith("/**/"):
            line = f"{line[:-1]}/*/"  # pathspec would take it for the folder itself
        try:
            pattern = GitIgnoreSpecPattern(line)
        except GitIgnorePatternError:
            continue
        if pattern.regex is not None and pattern.include is not None:
            regexes.append((pattern.regex, pattern.include))
    return Patterns(base, tuple(regexes))


def _plain(line: str) -> str:
    """The line without what `pathspec` does not know: classes as `[:digit:]` become ranges, and white space that git
    keeps and `pathspec` strips becomes a set of its own."""
    plain, at = "", 0
    while at < len(line):
        char = line[at]
        if char == "\\" and at + 1 < len(line):
            plain += f"[{line[at + 1]}]" if line[at + 1] in "\t\v\f\r" else line[at : at + 2]
            at += 2
        elif char == "[":
            part, at = _set(line, at)
            if not at:
                return ""  # to git it fits nothing
            plain += part
        else:
            plain += f"[{char}]" if char in "\t\v\f\r" or (char == " " and not plain and line.strip(" ")) else char
            at += 1
    return plain


def _set(line: str, start: int) -> tuple[str, int]:
    """A set in brackets, as `pathspec` reads it, and where it ends; 0 without an end, or with an unknown class."""
    at = start + 1 + (line[start + 1 : start + 2] in ("!", "^"))
    plain, first = line[start:at], at
    while at < len(line):
        if found := _CLASS.match(line, at):
            if found[1] not in _CLASSES:
                return "", 0
            plain += _CLASSES[found[1]]
            at = found.end()
            continue
        plain += line[at]
        at += 1
        if line[at - 1] == "]" and at - 1 > first:
            return plain, at
    return "", 0


def is_ignored(files: Sequence[Patterns], path: str, is_folder: bool) -> bool:
    """Whether a path is kept out by the files in the folders above it, the uppermost first."""
    for patterns in reversed(files):
        if (verdict := patterns.verdict(path, is_folder)) is not None:
            return verdict
    return False


def _fits(regex: re.Pattern[str], path: str, is_folder: bool) -> bool:
    if regex.pattern == _ANY_FOLDER:
        return is_folder
    if regex.groupindex:  # it ends with a folder's mark, or with the end
        return regex.fullmatch(f"{path}/" if is_folder else path) is not None
    if regex.pattern in (_ANYTHING, _BELOW_A_FOLDER):
        return regex.search(path) is not None
    return regex.match(path) is not None  # it ends with `/**`: what is below
