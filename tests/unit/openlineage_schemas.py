"""The JSON Schemas of OpenLineage (tests/openlineage) as a judge of events."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

SPEC = Path(__file__).parents[1] / "openlineage/spec"
_EVENT = "https://openlineage.io/spec/2-0-2/OpenLineage.json"


@cache
def _registry() -> Registry[Any]:
    registry: Registry[Any] = Registry()
    for file in SPEC.rglob("*.json"):
        schema = json.loads(file.read_text())
        registry = registry.with_resource(schema["$id"], Resource.from_contents(schema))
    return registry


def check(event: dict[str, Any]) -> None:
    """Raises jsonschema.ValidationError for an event, or a facet in it, that its own schema does not admit."""
    _validator(f"{_EVENT}#/$defs/RunEvent").validate(event)
    facets = [event["run"].get("facets", {}), event["job"].get("facets", {})]
    for dataset in (*event.get("inputs", ()), *event.get("outputs", ())):
        facets += [dataset.get(name, {}) for name in ("facets", "inputFacets", "outputFacets")]
    for each in facets:
        for facet in each.values():
            _validator(facet["_schemaURL"]).validate(facet)


def _validator(url: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": url}, registry=_registry(), format_checker=Draft202012Validator.FORMAT_CHECKER)
