"""MLflow's endpoints that set and delete a tag: the same for models and for versions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from services.gateway.mlflow.asked import Asked
from services.gateway.mlflow.calls import Calls
from services.gateway.mlflow.registry_names import refuse_prompts

_Endpoint = Callable[[Asked, Calls], Awaitable[dict[str, Any]]]


def tag_endpoints(kind: str, owner: Callable[[Asked, Calls], Awaitable[dict[str, Any]]]) -> tuple[_Endpoint, _Endpoint]:
    """One that sets a tag and one that deletes it, by commands of a kind. `owner`: the field of the command that says
    whose tag it is, and its value."""

    async def set_tag(asked: Asked, calls: Calls) -> dict[str, Any]:
        tags = {asked.text("key", required=True): asked.text("value")}
        refuse_prompts(tags)
        await calls.send(kind, **await owner(asked, calls), tags=tags)
        return {}

    async def delete_tag(asked: Asked, calls: Calls) -> dict[str, Any]:
        tags = {asked.text("key", required=True): None}
        await calls.send(kind, **await owner(asked, calls), tags=tags)
        return {}

    return set_tag, delete_tag
