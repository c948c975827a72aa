"""MLflow's model registry, translated without a platform behind the door."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import pytest
from blake3 import blake3

from events.language.objects import ObjectRef
from events.objects.manifest import BundleFile, Manifest
from events.objects.store import ObjectDamaged
from forgelog_pb.experiments.v1 import types_pb2 as types
from services.gateway.errors import DoorError
from services.gateway.mlflow import manifests, registry_shapes
from services.gateway.mlflow.asked import Asked
from services.gateway.mlflow.calls import Calls
from services.gateway.mlflow.manifests import Manifests, entries, without_folder
from services.gateway.mlflow.registry import models_filter
from services.gateway.mlflow.registry_names import number_of, stage_of
from services.gateway.mlflow.sources import Address, OfLoggedModel, OfRun, OfVersion, OfVersionId, parse_source
from services.gateway.principal import Principal


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("runs:/r1/model", OfRun("r1", "model")),
        ("runs:/r1-jg5nz/a/b/", OfRun("r1-jg5nz", "a/b")),
        ("runs:/r1", OfRun("r1", "")),
        ("models:/digits/3", OfVersion("digits", 3)),
        ("models:/two words@champion", OfVersion("two words", alias="champion")),
        ("models:/m-4711", OfLoggedModel("m-4711")),
        ("models:/m-4711/2", OfVersion("m-4711", 2)),
        ("mlflow-artifacts:/e1/models/m-4711/artifacts", Address("e1/models/m-4711/artifacts")),
        ("mlflow-artifacts:/e1/r1/artifacts/model", Address("e1/r1/artifacts/model")),
        ("mlflow-artifacts://host:7070/e1/r1/artifacts", Address("e1/r1/artifacts")),
        ("mlflow-artifacts:///e1/r1/artifacts", Address("e1/r1/artifacts")),
        ("mlflow-artifacts:/model-versions/mv1/artifacts", OfVersionId("mv1")),
        ("mlflow-artifacts:/model-versions/mv1/artifacts/a", Address("model-versions/mv1/artifacts/a")),
    ],
)
def test_a_source_is_a_run_a_version_or_a_path_of_this_door(uri: str, source: Any) -> None:
    assert parse_source(uri) == source


@pytest.mark.parametrize(
    "uri",
    ["runs:/", "models:/digits", "models:/digits/0", "models:/digits/new", "models:/@a", "s3://b/m", "/m", "dbfs:/m"],
)
def test_other_sources_are_refused(uri: str) -> None:
    with pytest.raises(DoorError, match="is nothing that the platform keeps files of"):
        parse_source(uri)


@pytest.mark.parametrize(
    ("filter", "meant"),
    [
        ("tag.`mlflow.prompt.is_prompt` != 'true'", "(tag.`mlflow.prompt.is_prompt` is null or {0})"),
        (
            "name = 'a' AND tag.`mlflow.prompt.is_prompt` != 'true'",
            "name = 'a' AND (tag.`mlflow.prompt.is_prompt` is null or {0})",
        ),
        ("tag.`mlflow.prompt.is_prompt` = 'true'", "tag.`mlflow.prompt.is_prompt` = 'true'"),
        ("name = 'a'", "name = 'a'"),
    ],
)
def test_a_model_without_a_tag_is_no_prompt(filter: str, meant: str) -> None:
    assert models_filter(filter) == meant.format("tag.`mlflow.prompt.is_prompt` != 'true'")


def test_numbers_stages_and_flags() -> None:
    asked = Asked({"version": "3", "on": True, "off": "False", "stage": "Live"})
    assert number_of(asked) == 3
    assert [asked.flag(name) for name in ("on", "off", "none")] == [True, False, False]
    assert [stage_of(asked, "stage", word) for word in ("staging", "NONE", "Archived")] == [
        "Staging",
        "None",
        "Archived",
    ]
    for call, told in (
        (lambda: number_of(Asked({})), "version: is missing"),
        (lambda: number_of(Asked({"version": "0"})), "version: is 0"),
        (lambda: number_of(Asked({"version": 10**12})), "version: is 1000000000000"),
        (lambda: Asked({"on": "yes"}).flag("on"), "on: 'yes' is neither true nor false"),
        (lambda: Asked({"on": 1}).flag("on"), "on: 1 is neither true nor false"),
        (lambda: stage_of(asked, "stage", "Live"), "stage: 'Live' is none of None, Staging"),
    ):
        with pytest.raises(DoorError, match=told):
            call()


def test_a_damaged_version_tells_why_and_a_sound_one_what_to_mind() -> None:
    found = types.ModelVersion(
        version_id="mv1",
        project="lab/vision",
        name="m",
        number=2,
        status=types.VERSION_STATUS_VERIFIED,
        stage=types.MODEL_STAGE_PRODUCTION,
        warnings=["a pickle", "no card"],
        source_run_id="r1.jg5nz",
        logged_model_id="m-1.jg5nz",
        tags={"a": "b", "mlflow.runLink": "http://there"},
    )
    shown = registry_shapes.version(found)
    assert (shown["version"], shown["status"], shown["status_message"]) == ("2", "READY", "a pickle; no card")
    assert (shown["current_stage"], shown["run_id"], shown["run_link"]) == ("Production", "r1-jg5nz", "http://there")
    assert (shown["tags"], shown["source"]) == (
        [{"key": "a", "value": "b"}],
        "mlflow-artifacts:/model-versions/mv1/artifacts",
    )
    assert (shown["model_id"], "description" in shown) == ("m-1-jg5nz", False)
    found.status, found.reason = types.VERSION_STATUS_DAMAGED, "w.bin: it is missing"
    shown = registry_shapes.version(found)
    assert (shown["status"], shown["status_message"]) == ("FAILED_REGISTRATION", "w.bin: it is missing")


def listed(*paths: str) -> dict[str, BundleFile]:
    return {path: BundleFile(path=path, digest="7" * 64, size=number) for number, path in enumerate(paths)}


def test_what_is_in_a_folder() -> None:
    files = listed("MLmodel", "data/a", "data/b/c", "data/b/d", "database")
    assert {name: file and file.size for name, file in entries(files, "")} == {
        "MLmodel": 0,
        "data": None,
        "database": 4,
    }
    assert {name: file and file.size for name, file in entries(files, "data")} == {"a": 1, "b": None}
    assert list(entries(files, "MLmodel")) == list(entries(files, "never")) == []
    assert [without_folder("a/b/c", folder) for folder in ("", "a", "a/b/c")] == ["a/b/c", "b/c", "c"]


@dataclass
class Store:
    """Objects in memory, as the gateway reads them."""

    objects: dict[str, bytes] = field(default_factory=dict)
    reads: int = 0

    def put(self, data: bytes) -> ObjectRef:
        ref = ObjectRef(digest=blake3(data).hexdigest(), size=len(data))
        self.objects[ref.digest] = data
        return ref

    async def read(self, ref: ObjectRef) -> bytes:
        self.reads += 1
        if ref.digest not in self.objects:
            raise ObjectDamaged("it is not what it was")
        return self.objects[ref.digest]


async def test_lists_that_were_asked_for_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "KEPT_FILES", 3)
    store: Any = Store()
    kept = Manifests(store)
    two, three = (store.put(Manifest(files=tuple(listed(*names).values())).to_bytes()) for names in ("ab", "xyz"))
    assert list(await kept.files(two)) == list(await kept.files(two)) == ["a", "b"]
    assert store.reads == 1
    assert list(await kept.files(three)) == ["x", "y", "z"]
    await kept.files(two)
    assert store.reads == 3  # two of five files are too many
    with pytest.raises(DoorError, match="the list of its files can't be read: it is no manifest"):
        await kept.files(store.put(b"something else"))
    with pytest.raises(DoorError, match="the list of its files can't be read: it is not what it was"):
        await kept.files(ObjectRef(digest="0" * 64, size=1))


@dataclass(frozen=True)
class Command:
    id: str
    conclude: bool


@dataclass
class SlowChecks:
    """A door whose creations are concluded late."""

    waited: list[tuple[Command, float]] = field(default_factory=list)

    async def checked(self, principal: Any, envelope: Any, body: Any, traceparent: str, *, conclude: bool) -> Command:
        return Command(envelope["id"], conclude)

    async def publish_and_wait(self, command: Command, seconds: float) -> Any:
        self.waited.append((command, seconds))
        if command.conclude:
            raise DoorError(grpc.StatusCode.DEADLINE_EXCEEDED, "no conclusion yet")
        return None, Decided()


@dataclass
class Decided:
    events: tuple[Any, ...] = ()
    conclusion: Any = None
    refused: Any = None


async def test_an_answer_waits_for_a_conclusion_only_so_long() -> None:
    door = SlowChecks()
    backend: Any = type("Backend", (), {"door": door, "carrying": None, "uploads": None, "manifests": None})
    calls = Calls(backend, Principal("owner"), "local/default", "", None)
    assert isinstance(await calls.send("CreateModelVersion", id="c1", conclude=True, within=2.0), Decided)
    (first, seconds), (second, more) = door.waited
    assert (first, seconds) == (Command("c1", True), 2.0)
    assert (second, more > 2.0) == (replace(first, conclude=False), True)
    with pytest.raises(DoorError, match="no conclusion yet"):
        await calls.send("CreateModelVersion", id="c2", conclude=True)
