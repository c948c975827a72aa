"""Each endpoint of MLflow's API is there, or is refused by name and listed in the guide."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mlflow.protos import databricks_pb2, mlflow_artifacts_pb2, model_registry_pb2, service_pb2, webhooks_pb2

from services.gateway.mlflow.door import ENDPOINTS, FILE_ENDPOINTS
from services.gateway.mlflow.paths import Paths
from tests.integration.cluster import Cluster

GUIDE = Path(__file__).parents[2] / "docs/how-to/migrate-from-mlflow.md"

_VALUE = re.compile(r"\{[^}]*\}|<[^>]*>")


def endpoints() -> Iterator[tuple[str, str, str]]:
    """Method, path behind ``/api``, and the root of the API that it is of, as the client itself describes it."""
    for module in (service_pb2, model_registry_pb2, mlflow_artifacts_pb2, webhooks_pb2):
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                for each in method.GetOptions().Extensions[databricks_pb2.rpc].endpoints:
                    root, _, rest = each.path.lstrip("/").partition("/")
                    yield each.method, f"{each.since.major}.0/{root}", _VALUE.sub("x", rest)


def missing() -> set[tuple[str, str, str]]:
    there = {"mlflow": Paths(ENDPOINTS), "mlflow-artifacts": Paths(FILE_ENDPOINTS)}
    return {each for each in endpoints() if there[each[1].rpartition("/")[2]].find(each[0], each[2]) is None}  # type: ignore[attr-defined]


def listed() -> set[str]:
    """What the paths that are not there begin with, as the guide says."""
    section = GUIDE.read_text().partition("## What is not there")[2].partition("\n## ")[0]
    first = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {name for cell in first for name in re.findall(r"`([^`]+)`", cell)}


def test_the_guide_lists_what_is_not_there() -> None:
    unlisted = {path for _, _, path in missing() if not any(f"{path}/".startswith(f"{name}/") for name in listed())}
    assert unlisted == set()
    paths = [path for _, _, path in missing()]
    assert {name for name in listed() if not any(f"{path}/".startswith(f"{name}/") for path in paths)} == set()
    assert len(list(endpoints())) > 150


async def test_what_is_not_there_is_refused_by_its_name(platform: Cluster) -> None:
    async with platform.http() as http:
        for method, root, path in sorted(missing()):
            answer = await http.request(method, f"/api/{root}/{path}", json=None if method == "GET" else {})
            assert (answer.status_code, answer.json()["error_code"]) == (501, "NOT_IMPLEMENTED"), path
            assert f"does not have {method} /api/{root}/{path} of" in answer.json()["message"]
