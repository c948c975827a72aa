"""What schemathesis is not to try again, and what it still is."""

from __future__ import annotations

from typing import Any

from tests.judges.schemathesis_once import COMPONENTS, Once, each_form_once, each_shape_once, without_descriptions

TEXT = {"type": "string", "maxLength": 3}


def command(name: str) -> dict[str, Any]:
    data = {"$ref": COMPONENTS + name}
    return {"properties": {"id": TEXT, "type": {"enum": [name]}, "data": data}, "additionalProperties": False}


def shapes() -> dict[str, Any]:
    size = {"properties": {"cpus": {"type": "integer"}, "note": TEXT}, "required": ["cpus"]}
    job = {"properties": {"size": {"$ref": COMPONENTS + "Size"}, "queue": TEXT}, "required": ["size"]}
    return {
        "Size": size,
        "Job": job,
        "Submit": {"properties": {"job": {"$ref": COMPONENTS + "Job"}, "name": TEXT}},
        "Tune": {"properties": {"job": {"$ref": COMPONENTS + "Job"}, "trials": {"type": "integer"}}},
    }


def test_a_shape_is_whole_in_the_first_command_and_has_what_it_requires_in_later_ones() -> None:
    commands, found = [command("Submit"), command("Tune")], shapes()
    each_shape_once(commands, found)
    assert set(commands[0]["properties"]) == {"id", "type", "data"}
    assert set(commands[1]["properties"]) == {"type", "data"}
    assert found["Submit"] == shapes()["Submit"]
    assert found["Job"] == shapes()["Job"]
    assert found["Tune"]["properties"]["job"] == {"$ref": COMPONENTS + "Job.required"}
    assert found["Tune"]["properties"]["trials"] == {"type": "integer"}
    assert found["Job.required"]["properties"] == {"size": {"$ref": COMPONENTS + "Size.required"}}
    assert found["Size.required"]["properties"] == {"cpus": {"type": "integer"}}


def test_the_fields_of_options_are_a_querys_own_in_the_first_query_alone() -> None:
    def query() -> dict[str, Any]:
        return {"properties": {"options": {}, "as_of": TEXT}, "dependentSchemas": {"as_of": {}}}

    found = {"GetJob": query(), "GetNode": query()}
    each_form_once(found)
    assert found == {"GetJob": query(), "GetNode": {"properties": {"options": {}}}}


def test_a_place_in_a_schema_lies_in_its_innermost_property() -> None:
    once = Once()
    once.document = {"components": {"schemas": shapes()}}
    wrong = once.property_at(
        {"oneOf": [command("Submit")]}, "/oneOf/0/properties/data/properties/job/properties/queue/type"
    )
    assert (wrong.name, wrong.within, wrong.takes) == ("queue", "type", TEXT)
    whole = once.property_at(command("Submit"), "/additionalProperties")
    assert (whole.name, whole.within) == ("", "/additionalProperties")
    assert once.types_of({"$ref": COMPONENTS + "Job"}) == once.types_of({"$ref": COMPONENTS + "Size"})


def test_a_thing_is_tried_at_the_first_place_that_has_it_and_as_often_as_it_comes_there() -> None:
    once = Once()
    assert [once.here(place, "text", 3) for place in ("a", "b", "a")] == [True, False, True]
    assert once.here("b", "text", 4)


def test_texts_for_people_go_and_values_and_properties_of_such_names_stay() -> None:
    found = {"Job": {"title": "Job", "properties": {"title": {**TEXT, "description": "What it is called."}}}}
    found["Job"]["default"] = {"title": "none"}
    without_descriptions(found)
    assert found == {"Job": {"properties": {"title": TEXT}, "default": {"title": "none"}}}
