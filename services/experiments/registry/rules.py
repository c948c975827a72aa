"""What every decision of a registry asks: is there such a model, may this person change it, can the version be used."""

from __future__ import annotations

from collections.abc import Mapping

from events.language.common import PLATFORM_ACTOR, absent, shown
from events.language.experiments import (
    MAX_ENTRIES,
)
from events.language.experiments.registry import (
    ModelAccess,
    VersionStatus,
)
from services.experiments.refusals import denied, exhausted, forbidden
from services.experiments.registry.state import Model, Registry, Slot, Version


def known_model(state: Registry, id: str) -> Model:
    model = state.models.get(id)
    if model is None or model.deleted:
        raise absent("model_id", f"there is no model {shown(id)} in this project", "forgelog models list shows them")
    return model


def known_version(state: Registry, id: str) -> Version:
    version = state.versions.get(id)
    if version is None or version.deleted:
        problem = f"there is no version {shown(id)} in this project"
        raise absent("version_id", problem, "forgelog models versions shows them")
    return version


def check_may(model: Model, id: str, actor: str) -> None:
    """Raises Refused if this person may not change the model."""
    if model.access is not ModelAccess.RESTRICTED or actor in (model.owner, PLATFORM_ACTOR, *model.allowed):
        return
    problem = f"model {id} is restricted, and {actor} is none of those who may change it"
    raise denied("model_id", problem, f"ask {model.owner}")


def usable(state: Registry, model: Model, number: int) -> str:
    """The id of a version whose files are intact, by the command's field `number`. Raises Refused."""
    if (id := model.versions.get(number)) is None:
        problem = f"model {model.name} has no version {number}"
        raise absent("number", problem, "forgelog models versions shows them")
    check_usable(state.versions[id], f"{model.name}/{number}", "number")
    return id


def check_usable(version: Version, name: str, field: str) -> None:
    """Raises Refused unless its files are intact. `field`: by which the command names it."""
    if version.status is VersionStatus.PENDING:
        problem = f"version {name} is pending: its files have not been looked at yet"
        raise forbidden(field, problem, "try again when it is verified")
    if version.status is VersionStatus.DAMAGED:
        problem = f"version {name} is damaged: {version.reason}"
        raise forbidden(field, problem, "restore its files and check it, or publish it anew")


def slot_of(slots: Mapping[str, Slot], name: str, field: str, problem: str) -> Slot:
    """Raises Refused with the problem if there is none of the name. `field`: by which the command names it."""
    if (slot := slots.get(name)) is None:
        raise absent(field, problem, "forgelog models about shows what the model has")
    return slot


def new_tags(known: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str | None]:
    """Of these changes, those that change something."""
    return {key: value for key, value in changes.items() if known.get(key) != value}


def check_tags(known: Mapping[str, str], changes: Mapping[str, str | None], what: str) -> None:
    """Raises Refused if it would have too many tags."""
    if len({*known, *changes} - {key for key, value in changes.items() if value is None}) > MAX_ENTRIES:
        problem = f"{what} would have more than {MAX_ENTRIES} tags"
        raise exhausted("tags", problem, "take others away first: give them null")
