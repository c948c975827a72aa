"""What the README and the documents show exists: commands with their options, manifests, linked files."""

from __future__ import annotations

import re
import shlex
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import TypeAdapter
from ruamel.yaml import YAML

from events.language.deployments.serving import ServingSpec
from forgelog.cli import make_app
from forgelog.manifest import kinds
from forgelog.manifest.signatures import SIGNATURE

ROOT = Path(__file__).parents[3]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(*languages: str) -> list[tuple[str, str]]:
    """Code blocks by file and line; not those that say which other test runs them."""
    found = []
    for path in DOCUMENTS:
        text = path.read_text()
        for match in re.finditer(r"(skip: tests/\S+ runs it[^>]*-->\n)?```(\w+)\n(.*?)```", text, re.DOTALL):
            if match[2] in languages and match[1] is None:
                found.append((f"{path.relative_to(ROOT)}:{text[: match.start()].count(chr(10)) + 2}", match[3]))
    return found


def _of_the_command(word: str) -> bool:
    return re.fullmatch(r"\||\d?>.*", word) is None


def shown() -> list[Any]:
    """Every `forgelog` line of the shell blocks, as words."""
    return [
        pytest.param([*takewhile(_of_the_command, shlex.split(line, comments=True))][1:], id=f"{place} {line}")
        for place, text in blocks("sh", "console")
        for line in (line.removeprefix("$ ") for line in text.replace("\\\n", " ").splitlines())
        if line.startswith("forgelog ")
    ]


@pytest.fixture(scope="module")
def command() -> Any:
    return typer.main.get_command(make_app())


@pytest.mark.parametrize("words", shown())
def test_a_shown_command_is_one(
    command: Any, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mended.json").touch()
    context = command.make_context("forgelog", list(words))
    while hasattr(context.command, "resolve_command") and context._protected_args:
        left = [*context._protected_args, *context.args]
        name, below, rest = context.command.resolve_command(context, left)
        context = below.make_context(name, rest, parent=context)
    assert context.command_path.split()[1] in words


A_SIGNATURE = "# signature.yaml"


def of_serving(place: str) -> bool:
    """Whether a block is of the page whose YAML goes to `python -m forgelog.serve --spec`."""
    return place.startswith("docs/how-to/serving.md:")


@pytest.mark.parametrize(
    "text", [pytest.param(text, id=place) for place, text in blocks("yaml") if not of_serving(place)]
)
def test_a_shown_manifest_is_one(text: str, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(text)
    word = re.search(r"^kind: (\w+)$", text, re.MULTILINE)
    assert kinds.load(file, kinds.named(word[1] if word else "Job"))


def test_a_shown_signature_is_one() -> None:
    shown = [text for _, text in blocks("yaml") if text.startswith(A_SIGNATURE)]
    assert shown
    for text in shown:
        assert kinds.parse(text, "signature.yaml", SIGNATURE)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(text, id=place)
        for place, text in blocks("yaml")
        if of_serving(place) and not text.startswith(A_SIGNATURE)
    ],
)
def test_a_shown_part_of_a_serving_spec_is_one(text: str) -> None:
    said = YAML(typ="safe").load(text)
    assert said
    for name, value in said.items():
        assert TypeAdapter(ServingSpec.model_fields[name].annotation).validate_python(value)


def test_the_tests_that_show_each_guarantee_are_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs/guarantees.md").read_text())
    assert named
    for file, name in named:
        found = re.search(rf"^((async )?def {name}\(|{name} = )", (ROOT / file).read_text(), re.MULTILINE)
        assert found, f"{file} has no {name}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_links_lead_to_files(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
        assert (path.parent / target).exists(), target
