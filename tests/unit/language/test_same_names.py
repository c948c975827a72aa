"""Two contexts may have classes of one name: each has its own reference, schemas, golden defaults and samples."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from events.language.aggregates import LanguageError
from events.language.base import Model
from events.language.contexts import VARIABLE
from events.language.json_schemas import definitions

ROOT = Path(__file__).parents[3]

FIELD = {"north": "row", "south": "shelf"}
"""Context → the field that only its `Placement` has."""
WEIGHT = {"north": 1, "south": 2}

LANGUAGE = '''
from enum import StrEnum
from typing import Annotated, ClassVar
from pydantic import Field
from events.language.base import Command, Event, Model
from events.language.moves import StateMachine
from events.language.planned import Planned

class Placement(Model):
    """A placement of {context}."""
    {field}: Annotated[str, Field(pattern="^{context}-[0-9]+$", examples=["{context}-7"])]
    """Where in {context}."""
    weight: int = {weight}
    """Of {context}."""

class State(StrEnum):
    """Of a thing in {context}."""
    LYING = "lying"
    """It lies in {context}."""
    GONE = "gone"
    """It left {context}."""

THING_MOVES = {{State.LYING: frozenset({{State.GONE}}), State.GONE: frozenset()}}
MACHINES = (StateMachine("Things of {context}", "They go.", THING_MOVES),)

class {base}Thing:
    context: ClassVar[str] = "{context}"
    aggregate: ClassVar[str] = "{context}"
    subject_from: ClassVar[str] = "thing_id"
    key_from: ClassVar[str] = "thing_id"

class Place({base}Thing, Command):
    """Place in {context}."""
    thing_id: str
    placement: Placement
    later: Annotated[bool, Planned("{context} to come")] = False

class Placed({base}Thing, Event):
    """Placed in {context}."""
    thing_id: str
    placement: Placement
'''

ASK = """
import json
from events.language.registry import command_types
from proto import golden, statemachines
from proto.reference import documents
from proto.samples import example, full
from proto.schemas import asyncapi, schema_of
from proto.shapes import files
from services.gateway.catalog import Catalog
from services.gateway.openapi import document

types = command_types()
print(json.dumps({
    "pages": documents() | statemachines.documents(),
    "asyncapi": asyncapi(),
    "openapi": document(Catalog(), []),
    "schemas": {name: schema_of(kind) for name, kind in types.items()},
    "samples": {name: json.loads(full(kind).model_dump_json()) for name, kind in types.items()},
    "defaults": golden.defaults(),
    "golden": [*golden.wanted()],
    "messages": {file.context: [message.name for message in file.messages] for file in files()},
}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What is made of two contexts that have a `Placement`, a `Place` and a `Placed` each."""
    folder = tmp_path_factory.mktemp("contexts")
    for context in FIELD:
        package = folder / context
        package.mkdir()
        (package / "__init__.py").write_text(
            "from events.language.contexts import ContextSpec\n"
            f'SPEC = ContextSpec("{context}", "things", language=("{context}.language",), service="{context}")\n'
        )
        names = {"context": context, "field": FIELD[context], "weight": WEIGHT[context], "base": context.capitalize()}
        (package / "language.py").write_text(LANGUAGE.format(**names))
    environment = {**os.environ, VARIABLE: "north:SPEC,south:SPEC", "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


BOTH = pytest.mark.parametrize("context", [*FIELD])


@BOTH
def test_each_has_a_section_of_its_own_and_links_lead_to_it(found: Any, context: str) -> None:
    page = found["pages"]["docs/reference/language-types.md"]
    section = page.split(f"\n### {context}.Placement\n")[1].split("\n### ")[0]
    assert f"A placement of {context}." in section
    assert f"| `{FIELD[context]}` (required) |" in section
    place = page.split(f"\n### {context}.Place\n")[1].split("\n### ")[0]
    assert f"[{context}.Placement](#{context}placement)" in place
    language = found["pages"]["docs/reference/language.md"]
    assert f"[`forgelog.{context}.v1.Place`](language-types.md#{context}place)" in language
    assert f"| `{context}.Place.later` | {context} to come |" in language


@BOTH
def test_each_has_its_state_machine_drawn(found: Any, context: str) -> None:
    page = found["pages"]["docs/reference/state-machines.md"]
    section = page.split(f"\n## Things of {context}\n")[1].split("\n## ")[0]
    assert "    [*] --> lying\n    lying --> gone\n    gone --> [*]\n" in section
    assert f"| `lying` | It lies in {context}. | `gone` |" in section


def test_every_link_of_the_reference_leads_to_one_section(found: Any) -> None:
    types = found["pages"]["docs/reference/language-types.md"]
    # As GitHub makes anchors: lower case, without what is no letter, digit, space or dash.
    anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"(?m)^#+ (.*)$", types)]
    assert len(anchors) == len(set(anchors))
    links = re.findall(r"\]\(#([^)]*)\)", types)
    links += re.findall(r"\]\(language-types\.md#([^)]*)\)", found["pages"]["docs/reference/language.md"])
    assert set(links) <= set(anchors)


@BOTH
def test_each_has_a_schema_of_its_own(found: Any, context: str) -> None:
    asyncapi = found["asyncapi"]
    payload = asyncapi["components"]["messages"][f"forgelog.{context}.v1.Place"]["payload"]
    assert payload == {"$ref": f"#/components/schemas/{context}.Place"}
    for schemas in (asyncapi["components"]["schemas"], found["openapi"]["components"]["schemas"]):
        assert FIELD[context] in schemas[f"{context}.Placement"]["properties"]
        reference = schemas[f"{context}.Place"]["properties"]["placement"]["$ref"]
        assert reference == f"#/components/schemas/{context}.Placement"
    assert FIELD[context] in found["schemas"][f"forgelog.{context}.v1.Place"]["$defs"]["Placement"]["properties"]


def test_the_gateway_is_asked_by_the_whole_name_of_what_is_in_two_contexts(found: Any) -> None:
    taken = found["openapi"]["paths"]["/v1/commands"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    names = [form["properties"]["type"]["enum"] for form in taken["oneOf"]]
    assert ["forgelog.north.v1.Place"] in names
    assert ["forgelog.south.v1.Place"] in names
    assert ["forgelog.jobs.v1.SubmitJob", "SubmitJob"] in names


def test_a_name_that_one_context_has_stays_short(found: Any) -> None:
    assert "JobSpec" in found["asyncapi"]["components"]["schemas"]
    assert "\n### JobSpec\n" in found["pages"]["docs/reference/language-types.md"]


@BOTH
def test_each_has_golden_defaults_and_a_sample(found: Any, context: str) -> None:
    assert found["defaults"][f"{context}.Placement"] == {"weight": WEIGHT[context]}
    assert {f"forgelog.{context}.v1.Place", f"models/{context}.Placement"} <= set(found["golden"])


@BOTH
def test_a_field_says_its_own_example(found: Any, context: str) -> None:
    name = f"forgelog.{context}.v1.Place"
    sample = found["samples"][name]
    assert sample["placement"][FIELD[context]] == f"{context}-7"
    Draft202012Validator(found["schemas"][name]).validate(sample)


@BOTH
def test_each_has_a_message_of_its_own(found: Any, context: str) -> None:
    assert found["messages"][context] == ["Placement", "Place", "Placed"]


def test_no_class_takes_the_name_of_another_schema_of_the_document() -> None:
    class Headers(Model):
        """A class with an unlucky name."""

    with pytest.raises(LanguageError, match="no class can be called Headers"):
        definitions([Headers], "#/{model}", ["Headers"])
    references, schemas = definitions([Headers], "#/{model}", ["Error"])
    assert references == {Headers: "#/Headers"}
    assert [*schemas] == ["Headers"]
