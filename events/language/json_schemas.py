"""JSON Schemas of the language's models in one document, each model under a name that no other has.

A model's name is its class's. Where several contexts have a class of that name, each is named ``context.Class``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cache
from typing import Any, TypeVar

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core.core_schema import ModelSchema

from events.language.aggregates import LanguageError
from events.language.base import Model
from events.language.contexts import contexts
from events.language.descriptions import descriptions_of
from events.language.registry import SHARED, command_types

M = TypeVar("M", bound=Model)

SCHEMAS = "#/components/schemas/"
"""Where an OpenAPI document has schemas."""


class Named(GenerateJsonSchema):
    """Adds the fields' descriptions, and tells classes of one name apart by their contexts. Pydantic does that by their
    modules, which may change."""

    def model_schema(self, schema: ModelSchema) -> JsonSchemaValue:
        """A model's schema, with the description of each field."""
        found = super().model_schema(schema)
        kind: Any = schema["cls"]  # for mypy no class of a generic can be hashed
        texts = descriptions_of(kind)
        for name, field in found.get("properties", {}).items():
            if name in texts:
                field["description"] = texts[name]
        return found

    def normalize_name(self, name: str) -> str:
        """A class's name in a document, from the class's alone or, where that is not enough, from its module's too."""
        module, _, own = name.rpartition(".")
        context = _contexts().get(module)
        return f"{context}.{super().normalize_name(own)}" if context else super().normalize_name(name)


def definitions(
    models: Iterable[type[M]], template: str, taken: Collection[str] = ()
) -> tuple[dict[type[M], str], dict[str, Any]]:
    """The reference to each model's schema; and the schemas by name, those of the models in them included.

    `template` is a reference's form, such as ``#/components/schemas/{model}``; `taken` are names of other schemas of
    that document. Raises LanguageError for a class that has one of those.
    """
    listed = list(models)
    found, schema = models_json_schema(
        [(model, "validation") for model in listed], ref_template=template, schema_generator=Named
    )
    schemas = schema.get("$defs", {})
    for name in taken:
        if name in schemas:
            raise LanguageError(f"no class can be called {name}: that is the name of a schema beside those of classes")
    return {model: found[model, "validation"]["$ref"] for model in listed}, schemas


def command_definitions() -> tuple[dict[str, str], dict[str, Any]]:
    """Those of all commands, as an OpenAPI document has them: the reference by the command's type; and the schemas."""
    references, schemas = definitions(command_types().values(), SCHEMAS + "{model}", ["Error"])
    return {kind.type_name(): reference for kind, reference in references.items()}, schemas


@cache
def _contexts() -> dict[str, str]:
    """Module → the context whose language it is part of."""
    own = {module: spec.name for spec in contexts().values() for module in spec.modules()}
    return {**dict.fromkeys(SHARED, "common"), **own}
