"""Which paths a pattern fits, which patterns are refused, and that none takes long."""

from __future__ import annotations

import fnmatch
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from events.language.path_patterns import MAX_PATTERN, PathPattern, Patterns, check_pattern

FITS = [
    ("results/**", ["results/a", "results/deep/er/b", "results/.hidden"], ["other/a", "old/results/a", "results.txt"]),
    ("results", ["results", "results/a", "results/deep/er/b"], ["old/results"]),
    ("results/", ["results/a", "results/deep/er/b"], ["old/results"]),
    ("*.pt", ["a.pt", ".pt", "folder.pt/what/ever"], ["deep/a.pt", "a.pth", "A.PT"]),
    ("**/*.pt", ["a.pt", "deep/a.pt", "deep/er/a.pt"], ["a.txt", "deep/a.pth"]),
    ("**", ["a", "deep/er/b"], []),
    ("a/**/z", ["a/z", "a/b/z", "a/b/c/z", "a/b/z/y"], ["a", "a/b", "b/a/z"]),
    ("run-?/log", ["run-1/log", "run-é/log"], ["run-/log", "run-12/log"]),
    ("ckpt-[0-9][!0-4]", ["ckpt-15", "ckpt-9x"], ["ckpt-14", "ckpt-a5", "ckpt-5"]),
    ("[]a][*]", ["]*", "a*"], ["a", "ab"]),
    ("*a*b*", ["ab", "xaxbx", "aab"], ["ba", "a"]),
    ("*", ["a", "deep/er"], []),
]


@pytest.mark.parametrize(("pattern", "fits", "others"), FITS)
def test_what_a_pattern_fits(pattern: str, fits: list[str], others: list[str]) -> None:
    patterns = Patterns([pattern])
    assert [path for path in fits if not patterns.fit_path(path)] == []
    assert [path for path in others if patterns.fit_path(path)] == []


def test_one_of_several_is_enough() -> None:
    patterns = Patterns(["results/**", "*.json"])
    assert patterns.fit_path("results/a")
    assert patterns.fit_path("a.json")
    assert not patterns.fit_path("a.txt")
    assert not Patterns([]).fit_path("a")


def test_a_folder_in_which_nothing_can_fit_need_not_be_entered() -> None:
    patterns = Patterns(["results/**/best.pt", "logs/*.txt"])
    assert not patterns.enter(patterns.start, "data")
    results = patterns.enter(patterns.start, "results")
    assert results
    assert not patterns.fit(results)
    assert patterns.enter(patterns.enter(results, "deep"), "er")
    assert not patterns.enter(patterns.enter(patterns.enter(patterns.start, "logs"), "deep"), "a.txt")


REFUSED = [
    ("/etc/passwd", "begins with /"),
    ("../other/**", "leads out of the folder"),
    ("a/../../b", "leads out of the folder"),
    ("./results/**", r"has the name '\.'; leave it out"),
    ("a//b", "has the name ''"),
    ("results**", r"\*\* stands alone between slashes; write results/\*\* "),
    ("**.pt", r"write \*\*/\*\.pt "),
    ("a[b", r"has a \[ without its \]"),
    ("results\\*", "has a backslash"),
    ("a\0b", "zero byte"),
    ("a\ud800b", "UTF-8|unicode"),
    ("", "at least 1"),
    ("a" * (MAX_PATTERN + 1), f"at most {MAX_PATTERN}"),
]


@pytest.mark.parametrize(("pattern", "told"), REFUSED)
def test_what_is_no_pattern_is_refused_with_what_to_write(pattern: str, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        TypeAdapter(PathPattern).validate_python(pattern)


NAMES = st.text("ab[]!-*?.", min_size=1, max_size=8)


@given(pattern=st.text("ab[]!-*?.", min_size=1, max_size=10), name=NAMES)
def test_a_name_is_held_against_a_pattern_as_fnmatch_does(pattern: str, name: str) -> None:
    try:
        patterns = Patterns([pattern])
    except ValueError:
        return
    for inner in pattern.split("["):
        if "-" in inner.partition("]")[0]:
            return  # fnmatch drops ranges that are empty
    assert patterns.fit_path(name) == fnmatch.fnmatchcase(name, pattern)


@given(
    parts=st.lists(st.sampled_from(["**", "a", "b", "*"]), min_size=1, max_size=5),
    names=st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=5),
)
def test_folders_are_passed_over_as_a_search_of_all_ways_says(parts: list[str], names: list[str]) -> None:
    def fits(parts: list[str], names: list[str]) -> bool:
        if not parts:
            return True  # what lies in a folder that fits
        if parts[0] == "**":
            return fits(parts[1:], names) or (bool(names) and fits(parts, names[1:]))
        return bool(names) and PurePosixPath(names[0]).match(parts[0]) and fits(parts[1:], names[1:])

    assert Patterns(["/".join(parts)]).fit_path("/".join(names)) == fits(parts, names)


def test_a_hostile_pattern_does_not_take_long() -> None:
    """Each of these takes a regular expression longer than the test may run."""
    assert not Patterns(["*a" * 100 + "b"]).fit_path("a" * 255)
    assert not Patterns(["/".join(["**", "*a*a*a*a"] * 20) + "/z"]).fit_path("/".join(["a" * 50] * 64))


def test_an_empty_pattern_is_said_to_be_empty() -> None:
    with pytest.raises(ValueError, match=r"^is empty; write for example results/\*\*$"):
        check_pattern("")
