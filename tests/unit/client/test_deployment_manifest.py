"""Deployments as documents: what a user writes, what it means, and what is said about a mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from events.language.deployments.enums import RolloutStrategy
from events.language.objects import ObjectRef
from forgelog.cli.rollouts import _share
from forgelog.client import bundles
from forgelog.client.core import Core
from forgelog.client.deployments import AsyncDeployments, Deployed
from forgelog.errors import InvalidInput, ManifestError
from forgelog.manifest.deployments import DEPLOYMENT, ManifestDeployment
from forgelog.manifest.kinds import parse


def read(text: str) -> ManifestDeployment:
    (found,) = parse(text, "web.yaml", DEPLOYMENT)
    return found


def errors_of(text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        parse(text, "web.yaml", DEPLOYMENT)
    return [str(problem) for problem in caught.value.errors]


def test_a_name_and_a_model_are_enough() -> None:
    found = read("kind: Deployment\nname: digits\nmodel: digits@champion\n")
    assert found.name == "digits"
    assert found.spec.model is not None
    assert (found.spec.model.name, found.spec.model.alias) == ("digits", "champion")
    assert found.spec.replicas == 1


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("digits", {}),
        ("digits/3", {"number": 3}),
        ("digits:production", {"environment": "production"}),
        ("{name: digits, number: 3}", {"number": 3}),
    ],
)
def test_a_model_s_version_is_named_as_everywhere(written: str, meant: dict[str, object]) -> None:
    model = read(f"name: a\nmodel: {written}\n").spec.model
    assert model is not None
    assert model.model_dump(exclude_defaults=True) == {"name": "digits", **meant}


def test_units_shortcuts_and_a_command_as_a_list() -> None:
    found = read(
        """
        name: web
        command: [python, serve.py, --fast]
        ports: http
        replicas: 2
        resources: {cpus: 500m, memory: 1Gi}
        env: {MODE: small}
        queue: gpu
        region: eu
        strategy: canary
        drain: 30s
        upload: .
        """
    )
    spec = found.spec
    assert (spec.command, spec.args, spec.ports) == ("python", ("serve.py", "--fast"), ("http",))
    assert (spec.resources.cpus, spec.resources.memory_bytes) == (0.5, 1 << 30)
    assert spec.environment.variables == {"MODE": "small"}
    assert (spec.target.queue, spec.target.region, spec.drain_seconds) == ("gpu", "eu", 30.0)
    assert spec.rollout.strategy is RolloutStrategy.CANARY
    assert found.upload == "."


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model: digits", "has no name"),
        ("name: Web!\nmodel: digits", "'Web!' is no name of a deployment"),
        ("name: web", "neither model nor command is given"),
        ("name: web\ncommand: python serve.py", "has more than one word"),
        ("name: web\nmodel: 'a@b@c'", "'a@b@c' names no version of a model"),
        ("name: web\nmodel: digits\nreplica: 2", "did you mean 'replicas'?"),
        ("name: web\nmodel: digits\nrollout: {max_surge: 0}", "max_surge and max_unavailable are both 0"),
        ("name: web\nmodel: {name: a, number: 1, alias: b}", "number, alias and environment each name a version"),
        ("name: web\ncommand: x\nendpoints: [{name: g, type: grpc, replica_port: grpc}]", "which is no port of the"),
        (
            "name: web\nmodel: m\nendpoints: [{name: a, type: rest}, {name: b, type: websocket}]",
            "two endpoints have the path /; give each a path of its own",
        ),
        ("- 1", "a deployment is a map of keys"),
    ],
)
def test_each_mistake_is_named(text: str, told: str) -> None:
    assert told in " ".join(errors_of(text))


def test_a_job_is_no_deployment() -> None:
    assert "is of kind Job, and Deployment is wanted here" in errors_of("kind: Job\nname: a\n")[0]


def test_a_share_is_a_percentage() -> None:
    assert _share("2=10") == (2, 1_000)
    assert _share("3=0.5") == (3, 50)
    for wrong in ("2", "2=", "=10", "2=101", "0=5", "2=nan", "2=inf", "x=1"):
        with pytest.raises(InvalidInput):
            _share(wrong)


async def test_a_folder_of_several_deployments_is_uploaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    specs: dict[str, Any] = {}

    async def upload(_core: Core, folder: str) -> ObjectRef:
        sent.append(folder)
        return ObjectRef(digest=f"{len(sent)}" * 64, size=1)

    async def deploy(_: AsyncDeployments, name: str, spec: Any, **_more: Any) -> Deployed:
        specs[name] = spec["environment"]["bundle"]
        return Deployed(name, 1)

    monkeypatch.setattr(bundles, "upload", upload)
    monkeypatch.setattr(AsyncDeployments, "deploy", deploy)
    folders = {"a": "upload: code", "b": "upload: code", "c": "upload: other", "d": ""}
    documents = [f"kind: Deployment\nname: {name}\ncommand: serve\n{said}\n" for name, said in folders.items()]
    (tmp_path / "all.yaml").write_text("---\n".join(documents))
    made = await AsyncDeployments(Core("127.0.0.1:1")).apply(tmp_path / "all.yaml")
    assert [each.deployment_id for each in made] == ["a", "b", "c", "d"]
    assert sent == ["code", "other"]
    assert [specs[name] and specs[name]["digest"][0] for name in folders] == ["1", "1", "2", None]
