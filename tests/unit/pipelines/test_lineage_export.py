"""What a catalogue answers, and what follows for the event that was sent to it."""

from __future__ import annotations

import httpx
import pytest

from events.process.settings import Settings, SettingsError
from services.pipelines.lineage_export import Away, Unwanted, place_of, post

URL = "http://catalogue.example.org:5000/api/v1/lineage"


async def sent(answer: httpx.Response | Exception, key: str = "") -> httpx.Request:
    """The request that the catalogue gets, which answers so."""
    got: list[httpx.Request] = []

    def serve(request: httpx.Request) -> httpx.Response:
        got.append(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with httpx.AsyncClient(transport=httpx.MockTransport(serve)) as client:
        await post(client, URL, {"eventType": "COMPLETE"}, key)
    return got[0]


async def test_an_event_is_posted_with_the_key() -> None:
    request = await sent(httpx.Response(201), "k3y")
    assert (request.method, str(request.url), request.content) == ("POST", URL, b'{"eventType":"COMPLETE"}')
    assert request.headers["authorization"] == "Bearer k3y"
    assert "authorization" not in (await sent(httpx.Response(200))).headers


@pytest.mark.parametrize("status", [302, 401, 403, 404, 408, 429, 500, 503])
async def test_what_may_change_is_tried_again(status: int) -> None:
    with pytest.raises(Away, match=f"catalogue.example.org answered {status}"):
        await sent(httpx.Response(status, text="secret things"))


async def test_a_catalogue_that_is_away_is_tried_again() -> None:
    with pytest.raises(Away, match="ConnectError at catalogue"):
        await sent(httpx.ConnectError("no route"))


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_what_is_refused_for_what_it_says_is_passed_over(status: int) -> None:
    with pytest.raises(Unwanted, match="no such facet") as error:
        await sent(httpx.Response(status, text="no such facet"))
    assert error.value.status == status


def test_another_catalogue_has_positions_of_its_own() -> None:
    assert place_of(URL) != place_of(URL + "/")


@pytest.mark.parametrize("value", ["catalogue:5000", "http://me:password@host/", "https://host/x?key=1", "ftp://host/"])
def test_an_address_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(SettingsError, match="FORGELOG_OPENLINEAGE: should be http://host:port/path"):
        Settings.load(openlineage=value)
