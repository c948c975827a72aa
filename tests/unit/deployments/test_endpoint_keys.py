"""Given a deployment, when keys of its endpoints are issued, revoked and expire, then routers know what opens it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from events.language.base import Event
from events.language.common import ErrorCode
from events.language.deployments.commands import TerminateDeployment
from events.language.deployments.endpoint_types import EndpointType
from events.language.deployments.events import RoutingChanged
from events.language.deployments.keys import (
    MOST_TTL_SECONDS,
    EndpointKeyIssued,
    EndpointKeyRevoked,
    IssueEndpointKey,
    RevokeEndpointKey,
)
from events.language.deployments.routing import EndpointKeys, PublicKey, RoutedEndpoint
from services.deployments.decide import Deployments
from services.deployments.endpoint_keys import LEEWAY, MAX_KEYS
from tests.unit.deployments.desk import ID, NOON, Desk, command_spec, names, refusal

FIRST, SECOND = PublicKey(key_id="first", x="A" * 43), PublicKey(key_id="second", x="B" * 43)
HOUR = 3_600
AFTER = LEEWAY.total_seconds()


class KeyDesk(Desk):
    """A running deployment, and an issuer whose key may be replaced."""

    def __init__(self, **fields: Any) -> None:
        super().__init__()
        self.sign_with(FIRST)
        self.create(command_spec(replicas=1, **fields))
        self.all_ready(1)

    def sign_with(self, public_key: PublicKey) -> None:
        self.decider = Deployments(public_key)

    def issue(self, name: str = "shop", ttl: int = HOUR, **fields: Any) -> EndpointKeyIssued:
        issued, *_ = self.send(IssueEndpointKey(deployment_id=ID, name=name, ttl_seconds=ttl, **fields))
        assert isinstance(issued, EndpointKeyIssued)
        return issued

    def revoke(self, key: EndpointKeyIssued, reason: str = "") -> list[Event]:
        return self.send(RevokeEndpointKey(deployment_id=ID, key_id=key.key_id, reason=reason))

    @property
    def told(self) -> EndpointKeys:
        """What routers were told last."""
        return [event.table.keys for event in self.events if isinstance(event, RoutingChanged)][-1]

    @property
    def trusted(self) -> list[str]:
        """Which public keys routers check by."""
        return [key.key_id for key in self.told.issuer.public_keys] if self.told.issuer else []


def test_before_a_key_is_issued_nothing_opens_the_deployment() -> None:
    assert KeyDesk().told == EndpointKeys()


def test_a_key_is_issued_for_a_time_and_routers_learn_who_signs_it() -> None:
    desk = KeyDesk()
    desk.now = NOON + timedelta(microseconds=250)
    key = desk.issue("the shop", ttl=HOUR)
    assert (key.name, key.endpoints, key.expires_at) == ("the shop", (), NOON + timedelta(hours=1))
    assert key.key_id.startswith("key-")
    assert desk.told.issuer is not None
    assert (desk.told.issuer.issuer, desk.trusted, desk.told.revoked) == ("forgelog", ["first"], ())


def test_a_second_key_of_the_same_signer_tells_routers_nothing_new() -> None:
    desk = KeyDesk()
    first = desk.issue()
    events = desk.send(IssueEndpointKey(deployment_id=ID, name="other"))
    assert names(events) == ["EndpointKeyIssued"]
    (second,) = events
    assert isinstance(second, EndpointKeyIssued)
    assert second.key_id != first.key_id


def test_a_revoked_key_is_named_to_routers_until_it_would_have_expired() -> None:
    desk = KeyDesk()
    kept, gone = desk.issue(ttl=2 * HOUR), desk.issue(ttl=HOUR)
    assert names(desk.revoke(gone, "it leaked")) == ["EndpointKeyRevoked", "RoutingChanged"]
    assert (desk.told.revoked, desk.trusted) == ((gone.key_id,), ["first"])
    desk.wait(HOUR + AFTER - 1)
    assert desk.told.revoked == (gone.key_id,)
    assert names(desk.wait(1)) == ["RoutingChanged"]
    assert desk.told.revoked == ()
    assert list(desk.state.keys) == [kept.key_id]


def test_revoking_once_more_changes_nothing() -> None:
    desk = KeyDesk()
    key = desk.issue()
    desk.revoke(key)
    assert desk.revoke(key) == []


def test_a_public_key_is_trusted_as_long_as_a_key_that_it_checks_is_good() -> None:
    desk = KeyDesk()
    early, late = desk.issue(ttl=HOUR), desk.issue(ttl=3 * HOUR)
    desk.sign_with(SECOND)
    desk.issue(ttl=2 * HOUR)
    assert desk.trusted == ["first", "second"]
    desk.revoke(late)
    assert desk.trusted == ["first", "second"], f"it checks {early.key_id}"
    desk.wait(HOUR + AFTER)
    assert desk.trusted == ["second"]
    desk.wait(HOUR)
    assert desk.trusted == []
    assert desk.told.issuer is None


def test_when_all_keys_of_a_signer_are_revoked_routers_trust_it_no_longer() -> None:
    desk = KeyDesk()
    keys = [desk.issue() for _ in range(2)]
    for key in keys:
        desk.revoke(key)
    assert desk.told.issuer is None
    assert set(desk.told.revoked) == {key.key_id for key in keys}


def test_expired_keys_are_forgotten() -> None:
    desk = KeyDesk()
    desk.issue(ttl=60)
    desk.wait(60 + AFTER)
    assert desk.state.keys == {}
    assert desk.decider.due(desk.state) is None


def test_no_key_outlives_its_deployment() -> None:
    desk = KeyDesk()
    key, revoked = desk.issue(ttl=HOUR), desk.issue(ttl=HOUR)
    desk.revoke(revoked)
    events = desk.send(TerminateDeployment(deployment_id=ID))
    assert [event.key_id for event in events if isinstance(event, EndpointKeyRevoked)] == [key.key_id]
    desk.wait(5)
    desk.all_released()
    desk.create(command_spec(replicas=1))
    assert set(desk.told.revoked) == {key.key_id, revoked.key_id}, "the same id, and tokens may be about still"
    assert desk.told.issuer is None


def test_a_key_may_open_some_endpoints_only() -> None:
    endpoints = (
        RoutedEndpoint(name="public", type=EndpointType.REST, path="/public"),
        RoutedEndpoint(name="internal", type=EndpointType.REST, path="/internal", authentication=True),
    )
    desk = KeyDesk(endpoints=endpoints)
    assert desk.issue(endpoints=("internal",)).endpoints == ("internal",)
    refused = refusal(desk, IssueEndpointKey(deployment_id=ID, name="shop", endpoints=("internl",)))
    assert (refused.code, refused.errors[0].field) == (ErrorCode.NOT_FOUND, "endpoints")
    assert "public, internal" in str(refused)


def test_endpoints_that_a_deployment_has_without_naming_them_are_called_by_their_type() -> None:
    desk = KeyDesk()
    assert desk.issue(endpoints=("rest",)).endpoints == ("rest",)


@pytest.mark.parametrize("when", ["never issued", "expired"])
def test_what_is_no_key_cannot_be_revoked(when: str) -> None:
    desk = KeyDesk()
    key = desk.issue(ttl=60).key_id if when == "expired" else "key-nosuch"
    desk.now += timedelta(seconds=60)
    refused = refusal(desk, RevokeEndpointKey(deployment_id=ID, key_id=key))
    assert (refused.code, refused.errors[0].field) == (ErrorCode.NOT_FOUND, "key_id")
    assert "forgelog keys ls" in str(refused)


def test_a_deployment_has_only_so_many_keys_revoked_ones_included() -> None:
    desk = KeyDesk()
    first = desk.issue(ttl=60)
    for number in range(1, MAX_KEYS):
        desk.issue(f"k{number}", ttl=HOUR)
    desk.revoke(first)
    refused = refusal(desk, IssueEndpointKey(deployment_id=ID, name="one more"))
    assert refused.code is ErrorCode.RESOURCE_EXHAUSTED
    desk.now += timedelta(seconds=60)
    desk.issue("one more")


def test_a_deployment_that_there_is_not_or_that_ends_has_no_keys() -> None:
    desk = Desk()
    assert refusal(desk, IssueEndpointKey(deployment_id=ID, name="shop")).code is ErrorCode.NOT_FOUND
    ending = KeyDesk()
    ending.send(TerminateDeployment(deployment_id=ID))
    assert refusal(ending, IssueEndpointKey(deployment_id=ID, name="shop")).code is ErrorCode.FAILED_PRECONDITION


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "control character"),
        ({"ttl_seconds": 59}, "greater than or equal to 60"),
        ({"ttl_seconds": MOST_TTL_SECONDS + 1}, "less than or equal to"),
        ({"endpoints": ("rest", "rest")}, "endpoints has a name twice"),
        ({"endpoints": ("Rest",)}, "endpoints"),
    ],
)
def test_what_can_not_be_asked_for_is_said(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        IssueEndpointKey(**{"deployment_id": ID, "name": "shop", **fields})
