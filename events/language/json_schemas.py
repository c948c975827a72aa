"""JSON Schemas of the language's models in one document, each model under a name that no other has.

A model's name is its class's. Where several contexts have a class of that name, each is named ``context.Class``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cache
from typing import Any, TypeVar

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from events.language.aggregates import LanguageError
from events.language.base import Model
from events.language.contexts import contexts
from events.language.registry import SHARED

M = TypeVar("M", bound=Model)


class Named(GenerateJsonSchema):
    """Tells classes of one name apart by their contexts. Pydantic does it by their modules, which may change."""

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


@cache
def _contexts() -> dict[str, str]:
    """Module → the context whose language it is part of."""
    own = {module: spec.name for spec in contexts().values() for module in spec.modules()}
    return {**dict.fromkeys(SHARED, "common"), **own}
