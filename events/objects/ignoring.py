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
        if line.endswith("/**/"):
            line = f"{line[:-1]}/*/"  # pathspec would take it for the folder itself
        try:
            pattern = GitIgnoreSpecPattern(line)
        except GitIgnorePatternError:
            continue
        if pattern.regex is not None and pattern.include is not None:
            regexes.append((pattern.regex, pattern.include))
    return Patterns(base, tuple(regexes))


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
