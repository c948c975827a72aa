"""`.gitignore`: git itself is asked what it keeps out, and the same is kept out here."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.objects.bundle import find_files

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git here")

Tree = dict[str, str]
"""Path to content."""


def plant(root: Path, tree: Tree) -> None:
    for path, content in tree.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)


def gits_own(root: Path) -> set[str]:
    """What git would add."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment = {**clean, "HOME": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", "init", "-q", root], env=environment, check=True)
    listed = subprocess.run(
        ["git", "-C", root, "ls-files", "-z", "--others", "--exclude-per-directory=.gitignore"],
        env=environment,
        check=True,
        capture_output=True,
    )
    return {os.fsdecode(path) for path in listed.stdout.split(b"\0") if path}


@pytest.mark.parametrize(
    "tree",
    [
        {".gitignore": "*.log\n!keep.log\n", "a.log": "", "keep.log": "", "d/b.log": "", "d/keep.log": ""},
        {".gitignore": "build/\n", "build/x": "", "d/build/y": "", "d/e/build": "a file"},
        {".gitignore": "/build\n", "build/x": "", "d/build": ""},
        {".gitignore": "out/*\n!out/keep\n", "out/a": "", "out/keep": "", "out/d/b": ""},
        {".gitignore": "out/\n!out/keep\n", "out/keep": "not possible to re-include"},
        {".gitignore": "/*\n!/src\n", "README": "", "src/a.py": "", "src/d/b.py": ""},
        {".gitignore": "a/**\n!a/b/\n", "a/b/c": "", "a/d": ""},
        {".gitignore": "a/**/z\n**/tmp\nq/**/\n", "a/z": "", "a/b/c/z": "", "d/tmp/x": "", "q/r/s": "", "q/t": ""},
        {".gitignore": "*.pt\n", "runs/.gitignore": "!best.pt\n", "a.pt": "", "runs/best.pt": "", "runs/a.pt": ""},
        {"d/.gitignore": "*\n!.gitignore\n", "d/x": "", "d/e/y": "", "z": ""},
        {"d/.gitignore": "/x\n", "d/x": "", "d/e/x": "", "x": ""},
        {".gitignore": ".env\n\\#odd\n\\!odd\nspace\\ \ntrail   \n# a comment\n\n", ".env": "KEY=1", "#odd": "",
         "!odd": "", "space ": "", "trail": "", "# a comment": ""},
        {".gitignore": "[a-c].txt\n[!x]y\n?.md\nw[]]\n", "a.txt": "", "d.txt": "", "zy": "", "xy": "", "q.md": "",
         "qq.md": "", "w]": ""},
        {".gitignore": "*/\n!d/\n", "d/x": "", "e/y": "", "f": ""},
        {".gitignore": "*/**\n", "d/x": "", "f": ""},
        {".gitignore": "\ufeffbom\n", "bom": "", "other": ""},
        {".gitignore": "[z-a\n[\nfoo[\n\\\n", "foo[": "", "[": "", "a": ""},
        {".gitignore": "[[:digit:]]*\n", "1a": "", "a1": "", "d/2": "", ":]x": "", "d]": ""},
        {".gitignore": "x[^[:alpha:]_]\ny[![:upper:]]\nz[[:nothing:]a]\nq[[:digit:]\n", "x1": "", "xa": "", "x_": "",
         "yA": "", "ya": "", "za": "", "z:]": "", "q1": "", "q[": ""},
        {".gitignore": "s[[:space:]]\n", "s ": "", "s\t": "", "s\v": "", "s": ""},
        {".gitignore": "tr\t\n", "tr": "", "tr\t": ""},
        {".gitignore": "tr\t  \n a\nb\tc\r\nd\\\t\n[\t]e\n", "tr": "", "tr\t": "", "a": "", " a": "", "b\tc": "",
         "d": "", "d\t": "", "\te": ""},
    ],
    ids=lambda tree: repr(next(iter(tree.values())))[:40],
)  # fmt: skip
def test_what_git_keeps_out_is_kept_out(tmp_path: Path, tree: Tree) -> None:
    plant(tmp_path, tree)
    assert set(find_files(tmp_path).files) == gits_own(tmp_path)


_NAMES = st.sampled_from(["a", "b", "ab", "a.log", "c.py", ".env"])
_PARTS = st.sampled_from(["a", "b", "*", "**", "a*", "*.log", "?", "[ab]", ".env", "c.py"])
_PATTERN = st.builds(
    lambda no, root, parts, end: f"{no}{root}{'/'.join(parts)}{end}",
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "", "/"]),
    st.lists(_PARTS, min_size=1, max_size=3),
    st.sampled_from(["", "", "/"]),
)
_PATTERNS = st.lists(_PATTERN, max_size=4).map("\n".join)
_PATHS = st.lists(st.lists(_NAMES, min_size=1, max_size=4).map("/".join), min_size=1, max_size=12)


@settings(max_examples=150)
@given(_PATHS, _PATTERNS, _PATTERNS)
def test_trees_and_patterns_of_any_kind(paths: list[str], top: str, below: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for path in paths:
            if any(each.is_file() for each in (root / path).parents) or (root / path).is_dir():
                continue
            plant(root, {path: ""})
        plant(root, {".gitignore": top})
        if (root / "a").is_dir():
            plant(root, {"a/.gitignore": below})
        assert set(find_files(root).files) == gits_own(root), (paths, top, below)


@pytest.mark.parametrize(
    "name",
    ["alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "xdigit"],
)
def test_a_class_has_the_characters_that_git_gives_it(tmp_path: Path, name: str) -> None:
    tree = {f"a{chr(code)}b": "" for code in range(1, 128) if chr(code) != "/"}
    plant(tmp_path, {**tree, "a/b": "", ".gitignore": f"a[[:{name}:]]b\n"})
    assert set(find_files(tmp_path).files) == gits_own(tmp_path)
