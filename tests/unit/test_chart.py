"""The Helm chart fits the code: contexts, variables, secrets.

It is rendered where there is Helm: `FORGELOG_HELM`, or `helm` on the path. Elsewhere those tests are skipped.
``go install helm.sh/helm/v3/cmd/helm@v3.16.4`` makes one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import forgelog
from events.language.contexts import TOGETHER, contexts, processes
from events.process.settings import Settings

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "forgelog"
GIVEN = (
    "kafka.bootstrap=kafka:9092",
    "postgres.urlSecret=database",
    "objects.url=s3://models/forgelog",
    "objects.environmentSecret=objects",
    "router.tlsSecret=tls",
    "kafka.configSecret=kafka",
)
AGENTS = {f"FORGELOG_{name}" for name in ("TOKEN_FILE", "NODE", "NODE_ADDRESS", "NODE_CPUS", "AGENT_DIR")}
"""Variables that are not in `Settings`: the node agent's."""

HELM = os.environ.get("FORGELOG_HELM") or shutil.which("helm") or ""
needs_helm = pytest.mark.skipif(not HELM, reason="needs helm: FORGELOG_HELM names it")


def values() -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe", pure=True).load((CHART / "values.yaml").read_text())
    return found


def helm(*given: str) -> subprocess.CompletedProcess[str]:
    told = [part for each in given for part in ("--set", each)]
    command = [HELM, "template", "fl", str(CHART), "--kube-version", "1.31.0", *told]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@cache
def rendered() -> dict[tuple[str, str], dict[str, Any]]:
    """Kind and name → object."""
    done = helm(*GIVEN)
    assert done.returncode == 0, done.stderr
    found = YAML(typ="safe", pure=True).load_all(done.stdout)
    return {(each["kind"], each["metadata"]["name"]): each for each in found if each}


def containers() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Name → what the pod is, and its container."""
    pods = [each["spec"]["template"]["spec"] for each in rendered().values() if "template" in each.get("spec", {})]
    return {pod["containers"][0]["name"]: (pod, pod["containers"][0]) for pod in pods}


def test_its_processes_are_those_of_the_contexts() -> None:
    wanted = {
        name: {
            "modules": ["services", *hosted] if name == TOGETHER else [contexts()[name].package],
            "contexts": list(hosted),
        }
        for name, hosted in processes(contexts()).items()
    }
    assert values()["services"] == wanted


def test_its_version_is_the_codes() -> None:
    chart = YAML(typ="safe", pure=True).load((CHART / "Chart.yaml").read_text())
    project = re.search(r'^version = "(.+)"$', (CHART.parents[2] / "pyproject.toml").read_text(), re.MULTILINE)
    assert project is not None
    assert chart["appVersion"] == project[1]


def test_it_names_variables_that_are_read() -> None:
    known = {f"FORGELOG_{field.rstrip('_').upper()}" for field in Settings.model_fields} | AGENTS
    texts = [path.read_text() for path in CHART.rglob("*") if path.is_file()]
    named = {name for text in texts for name in re.findall(r"FORGELOG_[A-Z_]+", text)}
    read = Path(forgelog.__file__).parents[1] / "services/deployments/router/config.py"
    assert {name for name in named - known if f'"{name}"' not in read.read_text()} == set()


@needs_helm
def test_what_is_missing_is_asked_for() -> None:
    for left_out in GIVEN[:3]:
        done = helm(*(each for each in GIVEN if each != left_out))
        assert done.returncode != 0
        assert f"{left_out.partition('=')[0]} is missing; " in done.stderr


@needs_helm
def test_each_process_has_its_variables_and_no_privileges() -> None:
    for name, (pod, container) in containers().items():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["automountServiceAccountToken"] is False, name
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
        variables = [each["name"] for each in container["env"]]
        assert len(variables) == len(set(variables)), name
        mounted = {each["name"] for each in container["volumeMounts"]}
        assert mounted == {each["name"] for each in pod["volumes"]}, name
    assert containers().keys() == {"jobs", "scheduling", "resources", "services", "gateway", "router", "agent"}
    told = {each["name"]: each.get("value") for each in containers()["gateway"][1]["env"]}
    addresses = dict(entry.split("=") for entry in told["FORGELOG_SERVICES"].split(","))
    assert addresses.keys() == contexts().keys()
    ports = {name: each["spec"]["ports"][0]["port"] for (kind, name), each in rendered().items() if kind == "Service"}
    assert all(ports[host] == int(port) for host, _, port in (each.partition(":") for each in addresses.values()))


@needs_helm
def test_secrets_are_in_the_secret_alone_and_an_agent_has_few() -> None:
    (keys,) = [each for (kind, _), each in rendered().items() if kind == "Secret"]
    assert keys["data"].keys() == {"services.key", "replicas.key", "owner.key"}
    assert len(set(keys["data"].values())) == 3
    others = str([each for each in rendered().values() if each is not keys])
    assert all(value not in others for value in keys["data"].values())
    pod, agent = containers()["agent"]
    assert {each["name"] for each in agent["env"]}.isdisjoint({"FORGELOG_POSTGRES", "FORGELOG_SERVICES_KEY_FILE"})
    (mounted,) = [each["secret"]["items"] for each in pod["volumes"] if each["name"] == "keys"]
    assert {each["key"] for each in mounted} == {"replicas.key", "owner.key"}
