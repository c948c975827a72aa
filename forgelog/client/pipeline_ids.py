"""Ids of pipelines, from what users call them."""

from __future__ import annotations

from forgelog.errors import InvalidInput


def pipeline_id(name: str, project: str) -> str:
    """The id of a pipeline that is named by its name in a project, or by its id. Raises `InvalidInput`."""
    from events.log.ids import named_id

    if not name:
        raise InvalidInput("name: is empty; give a pipeline's name")
    return name if "." in name else named_id(name, project)
