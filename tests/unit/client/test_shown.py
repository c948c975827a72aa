"""How documents are checked: what is a command, what it shows, and what may differ."""

from __future__ import annotations

from tests.integration.documents import Step, blocks_of, difference

DOCUMENT = """\
Words.

<!-- test
before: JOB=$(forgelog submit -- true)
fails: 1
-->
```console
$ forgelog wait JOB
JOB  done
...
$ echo
```

```sh
KAFKA=here     # a comment
echo a |
  cat
```

```python
no = "shell"
```
"""


def test_blocks_and_what_is_said_of_them() -> None:
    console, script, python = blocks_of(DOCUMENT)
    assert python.kind == "python", "a shell runs none of it: it becomes a file if it says its name"
    assert (console.line, console.said("fails")) == (8, ["1"])
    assert console.said("before") == ["JOB=$(forgelog submit -- true)"]
    assert console.steps == [Step("forgelog wait JOB", ("JOB  done", "...")), Step("echo")]
    assert script.steps == [Step("KAFKA=here     # a comment"), Step("echo a |\n  cat")]


def test_ids_times_and_sizes_may_differ() -> None:
    shown = ["job jsssvaavj2i6jw", "JOB             RAN     AT", "jsssvaavj2i6jw  3m ago  03:12:01.5  24 MiB"]
    came = ["job jr3k5wq2mzb7a", "JOB  RAN  AT", "jr3k5wq2mzb7a  now  23:01:59.123  1.5 GiB", ""]
    assert difference(shown, came) == ""


def test_words_and_exit_codes_may_not() -> None:
    assert "shown:" in difference(["exit code 3"], ["exit code 4"])
    assert "came:" in difference(["completed"], [])


def test_dots_stand_for_any_lines() -> None:
    assert difference(["first", "...", "last"], ["first", "2", "3", "last"]) == ""
    assert difference(["first", "...", "last"], ["first", "last"]) == ""
    assert difference(["first", "..."], ["other", "last"]) != ""
