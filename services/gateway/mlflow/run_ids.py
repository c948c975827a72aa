"""Ids of runs and logged models as MLflow's client takes them. Pure.

The ids of a project other than the default one end in a dot and five letters (`events.log.ids.id_ending`). The client
refuses an id of a run that has a dot. So on this door that dot is a dash.
"""

from __future__ import annotations

from dataclasses import replace

from events.log.ids import dashed, id_ending
from events.queries.expressions import Comparison, Expression, ExpressionError, Group, parse_filter, write

_NAMED = frozenset({"", "run", "attr", "attribute", "attributes"})
_KEYS = frozenset({"run_id", "parent_run_id", "source_run_id", "model_id"})


def outward(id: str, project: str) -> str:
    """The platform's id as a client sees it."""
    return dashed(id, project)


def inward(id: str, project: str) -> str:
    """What the platform calls a run or a logged model that a client calls so."""
    ending = id_ending(project)
    seen = f"-{ending[1:]}"
    return f"{id.removesuffix(seen)}{ending}" if ending and id.endswith(seen) else id


def inward_filter(text: str, project: str) -> str:
    """A filter in which runs are called as the platform calls them. One that can't be read, or that names none, stays
    as it is: then a refusal tells the place in what the client sent."""
    if not id_ending(project):
        return text
    try:
        found = parse_filter(text)
    except ExpressionError:
        return text
    if found is None:
        return text
    named = _inward(found, project)
    return text if named == found else write(named)


def _inward(expression: Expression, project: str) -> Expression:
    if isinstance(expression, Group):
        return replace(expression, parts=tuple(_inward(part, project) for part in expression.parts))
    name, value = expression.name, expression.value
    if name.kind not in _NAMED or name.key not in _KEYS:
        return expression
    if isinstance(value, tuple):
        return Comparison(name, expression.operator, tuple(inward(each, project) for each in value), expression.at)
    if isinstance(value, str):
        return Comparison(name, expression.operator, inward(value, project), expression.at)
    return expression
