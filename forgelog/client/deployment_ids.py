"""Ids of deployments, from what users call them."""

from __future__ import annotations

from forgelog.errors import InvalidInput


def deployment_id(name: str, project: str) -> str:
    """The id of a deployment that is named by its name in a project, or by its id. Raises `InvalidInput`."""
    from events.log.ids import named_id

    if not name:
        raise InvalidInput("name: is empty; give a deployment's name")
    return name if "." in name else named_id(name, project)
