"""A request with any JSON becomes a message or is refused by its field: the gateway reports no defect."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.language.registry import command_types
from services.gateway.catalog import Catalog
from services.gateway.commands import Door, Parsed
from services.gateway.errors import DoorError
from services.gateway.limits import Bounds
from services.gateway.principal import Access, Principal
from services.gateway.transcode import request_from_json, request_from_parameters

CATALOG = Catalog()
METHODS = sorted(CATALOG.methods.values(), key=lambda method: method.path)
COMMANDS = sorted(command_types())


class Anyone(Access):
    """Lets everybody do everything."""

    def __init__(self) -> None: ...

    def authorize(self, principal: Principal, action: str) -> None: ...


DOOR = Door(CATALOG, Bounds(), Anyone())

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 70), 1 << 70),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["running", "0", "1e999", "9" * 5000, "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", "\0"]),
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


def bodies(names: list[str]) -> st.SearchStrategy[Any]:
    """Objects that mostly have the fields that there are."""
    return anything | st.dictionaries(st.sampled_from([*names, "x", "\0"]), anything, max_size=4)


def refused_or_done(work: Callable[[], Any]) -> None:
    """Anything but a refusal of the request is a defect."""
    with contextlib.suppress(DoorError):
        work()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_json_is_a_request_or_refused(data: st.DataObject) -> None:
    method = data.draw(st.sampled_from(METHODS))
    names = [field.name for field in method.request.DESCRIPTOR.fields] + ["as_of", "at_least", "limit", "cursor"]
    body = data.draw(bodies(names))
    refused_or_done(lambda: request_from_json(body, method.request))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_parameters_are_a_request_or_refused(data: st.DataObject) -> None:
    method = data.draw(st.sampled_from(METHODS))
    names = [field.name for field in method.request.DESCRIPTOR.fields] + ["as_of", "limit", "labels.a", "options.as_of"]
    names += ["", "\0", "labels.\0"]
    pairs = data.draw(st.lists(st.tuples(st.sampled_from(names), st.sampled_from(["", "a", "1"])), max_size=4))
    refused_or_done(lambda: request_from_parameters(pairs, method.request))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_json_is_a_command_or_refused(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(COMMANDS))
    body = data.draw(bodies(list(command_types()[name].model_fields)))
    refused_or_done(lambda: DOOR.check(Principal("owner"), {"type": name}, Parsed(body, 10)))


@pytest.mark.parametrize("pairs", [[("options", ""), ("as_of", "")], [("as_of", "x"), ("options", "")]])
def test_a_group_that_is_given_as_a_text_is_refused(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(DoorError, match="options"):
        request_from_parameters(pairs, CATALOG.find("JobQueries", "ListJobs").request)


@pytest.mark.parametrize("value", [{}, [{}], [[]], 1.5, True, "x", "", 1 << 70])
def test_an_enum_of_any_kind_is_refused(value: Any) -> None:
    method = CATALOG.find("JobQueries", "ListJobs")
    with pytest.raises(DoorError, match="statuses"):
        request_from_json({"statuses": [value]}, method.request)
