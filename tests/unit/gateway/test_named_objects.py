"""When a command names objects that the store lacks, then the gateway refuses it, and tells them by their fields."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
import pytest

from events.language.objects import ObjectRef
from services.gateway.catalog import Catalog
from services.gateway.commands import Checked, Door, Parsed
from services.gateway.errors import DoorError
from services.gateway.limits import Bounds
from services.gateway.principal import Principal
from tests.unit.gateway.test_fuzz import Anyone

HELD = ObjectRef(digest="a" * 64, size=3)
LOST = ObjectRef(digest="b" * 64, size=4)


async def lacking(refs: Sequence[ObjectRef]) -> Sequence[ObjectRef]:
    """What a store says that has `HELD` only."""
    return [ref for ref in refs if ref != HELD]


async def sent(kind: str, **fields: object) -> Checked:
    door = Door(Catalog(), Bounds(), Anyone(), lacking)
    envelope = {"type": f"forgelog.experiments.v1.{kind}", "id": "c1"}
    return await door.checked(Principal("owner"), envelope, Parsed(fields, 0))


def files(*refs: ObjectRef) -> list[dict[str, object]]:
    return [{"path": f"{number}.bin", "file": ref.model_dump()} for number, ref in enumerate(refs)]


async def test_files_whose_bytes_are_there_are_taken() -> None:
    assert (await sent("LogArtifacts", run_id="r1", artifacts=files(HELD, HELD))).outgoing.id == "c1"


@pytest.mark.parametrize(
    ("kind", "owner"), [("LogArtifacts", {"run_id": "r1"}), ("LogLoggedModelFiles", {"model_id": "m-1"})]
)
async def test_a_file_whose_bytes_are_missing_is_refused_by_its_field(kind: str, owner: dict[str, str]) -> None:
    with pytest.raises(DoorError) as caught:
        await sent(kind, **owner, artifacts=files(HELD, LOST, ObjectRef(digest="a" * 64, size=9)))
    assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION
    assert [error.field for error in caught.value.errors] == ["artifacts.1.file", "artifacts.2.file"]
    problem = f"the store has no object {'b' * 64} of 4 bytes"
    assert caught.value.message == f"artifacts.1.file: {problem}; put its bytes first: PUT /v1/objects/DIGEST"


async def test_a_command_that_names_no_object_is_not_looked_up() -> None:
    assert await sent("LogRunData", run_id="r1", params={"lr": "0.1"})
