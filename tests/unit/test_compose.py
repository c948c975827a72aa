"""The compose files fit the code, as far as that can be told without an engine: images, modules, variables, ports."""

from __future__ import annotations

import importlib.util
import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from events.language.contexts import VARIABLE, ContextSpec, contexts
from events.process.settings import Settings
from forgelog.embedded.docker import Docker
from forgelog.embedded.kafka import Kafka
from forgelog.embedded.kafka_users import PLATFORM, PRODUCER, Users
from proto import GenerationError, compose
from services.deployments.router import config as router
from services.resources.agent import config as agent

ROOT = Path(__file__).parents[2]
FILES = (ROOT / "docker-compose.yml", ROOT / "forgelog/embedded/servers.compose.yml")
OTHERS = {"FORGELOG_NODE", "FORGELOG_AGENT_DIR", "FORGELOG_TOKEN_FILE"}
"""Variables of the node agent alone."""
ROUTERS = {"FORGELOG_ROUTER_NAME", "FORGELOG_ROUTER_LISTEN"}
"""Variables of routers alone."""


def parsed(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe", pure=True).load(path.read_text())
    return found


def services() -> dict[str, dict[str, Any]]:
    found = parsed(FILES[0])["services"]
    return {name: service for name, service in found.items() if service.get("image") == "forgelog"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_file_is_a_compose_file(path: Path) -> None:
    schema = json.loads((ROOT / "tests/unit/compose/compose-spec.json").read_text())
    errors = Draft202012Validator(schema).iter_errors(parsed(path))
    assert [f"{error.json_path}: {error.message}" for error in errors] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_servers_are_those_the_tests_run_on(path: Path) -> None:
    images = {name: service["image"] for name, service in parsed(path)["services"].items()}
    lock = json.loads((ROOT / "forgelog/embedded/kafka.lock.json").read_text())
    assert images["kafka"] == f"apache/kafka:{lock['kafka']}"
    assert images["postgres"] == "postgres:18"


@pytest.mark.parametrize("name", list(services()))
def test_each_service_runs_a_module_with_variables_that_it_reads(name: str) -> None:
    service = services()[name]
    module, *hosted = service["command"]
    assert importlib.util.find_spec(f"{module}.__main__") is not None
    assert {*hosted} <= contexts().keys()
    known = {f"FORGELOG_{field.rstrip('_').upper()}" for field in Settings.model_fields} | {VARIABLE} | OTHERS | ROUTERS
    assert set(service["environment"]) <= known
    assert all(variable in Path(agent.__file__).read_text() for variable in OTHERS)
    assert all(variable in Path(router.__file__).read_text() for variable in ROUTERS)


def test_the_platforms_secrets_are_for_the_services_and_not_for_the_agent() -> None:
    for name, service in services().items():
        told = {"FORGELOG_POSTGRES", "FORGELOG_SERVICES_KEY_FILE"} & set(service["environment"])
        mounted = "keys:/keys" in service.get("volumes", ())
        assert (len(told), mounted) == ((0, False) if name == "agent" else (2, True)), name


def test_replicas_and_routers_have_one_key() -> None:
    told = services()
    for name in ("services", "router", "agent"):
        assert told[name]["environment"]["FORGELOG_REPLICAS_KEY_FILE"] == "/replicas/replicas.key"
        assert any(volume.startswith("replicas:/replicas") for volume in told[name]["volumes"])
    assert told["router"]["ports"] == ["127.0.0.1:7080:7080"]
    assert told["router"]["environment"]["FORGELOG_ROUTER_LISTEN"] == "0.0.0.0:7080"


def test_addresses_name_services_and_their_ports() -> None:
    found = parsed(FILES[0])["services"]
    for service in services().values():
        environment = service["environment"]
        for text in (environment["FORGELOG_KAFKA"], *filter(None, environment.get("FORGELOG_SERVICES", "").split(","))):
            host = text.split("=")[-1].split(":")[0]
            assert host in found
    for name, entry in (item.split("=") for item in services()["jobs"]["environment"]["FORGELOG_SERVICES"].split(",")):
        host, port = entry.split(":")
        assert host == name or name in services()[host]["command"]
        assert port == services()[host]["environment"]["FORGELOG_LISTEN"].split(":")[1]
    gateway = services()["gateway"]
    assert gateway["environment"]["FORGELOG_GATEWAY"] == "0.0.0.0:7070"
    assert gateway["ports"] == ["127.0.0.1:7070:7070"]


def test_every_process_is_told_the_same_contexts() -> None:
    told = {service["environment"]["FORGELOG_CONTEXTS"] for service in services().values()}
    assert told == {"${FORGELOG_CONTEXTS:-}"}


def test_a_context_that_is_added_is_a_service_that_the_others_find() -> None:
    spec = ContextSpec("notes", "what people write", service="noting")
    text = compose.render(FILES[0].read_text(), {**contexts(), spec.name: spec})
    found = YAML(typ="safe", pure=True).load(text)["services"]
    together = [name for name, each in contexts().items() if each.hosted == "together"]
    assert found["services"]["command"] == ["services", *together, "notes"]
    assert found["services"]["environment"]["FORGELOG_INSTANCE"] == "{context}-0"
    assert {**found["services"], "command": [], "environment": {}} == {
        **found["jobs"],
        "command": [],
        "environment": {},
    }
    assert found["gateway"]["environment"]["FORGELOG_SERVICES"].endswith(",notes=services:5000")
    assert found.keys() == parsed(FILES[0])["services"].keys() | {"services"}


def test_a_context_that_is_added_may_be_alone() -> None:
    spec = ContextSpec("notes", "what people write", service="noting", hosted="alone")
    text = compose.render(FILES[0].read_text(), {**contexts(), spec.name: spec})
    found = YAML(typ="safe", pure=True).load(text)["services"]
    assert found["notes"]["command"] == ["noting"]
    assert found["notes"]["environment"]["FORGELOG_INSTANCE"] == "notes-0"
    assert {**found["notes"], "command": [], "environment": {}} == {**found["jobs"], "command": [], "environment": {}}
    assert found["gateway"]["environment"]["FORGELOG_SERVICES"].endswith(",notes=notes:5000")
    assert [name for name in found if name not in parsed(FILES[0])["services"]] == ["notes"]
    assert compose.render(text, contexts()) == FILES[0].read_text()


@pytest.mark.parametrize("change", [("# END contexts", "# END"), ("# BEGIN addresses", "# BEGIN  addresses")])
def test_a_file_without_its_marks_is_not_written(change: tuple[str, str]) -> None:
    with pytest.raises(GenerationError, match=r"docker-compose.yml has 0 parts between `# BEGIN \w+` and"):
        compose.render(FILES[0].read_text().replace(*change), contexts())


def test_what_the_image_is_built_from_is_there() -> None:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    copied = [word for line in re.findall(r"^COPY (?!--)(.*) \S+$", dockerfile, re.MULTILINE) for word in line.split()]
    assert {"events", "services", "forgelog"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)
    for volume in (
        volume for service in parsed(FILES[0])["services"].values() for volume in service.get("volumes", [])
    ):
        source = volume.split(":")[0]
        assert source in parsed(FILES[0])["volumes"] or (ROOT / source).exists()


def test_dockers_broker_asks_as_the_embedded_one_does(tmp_path: Path) -> None:
    """Kafka's image makes properties of variables: ``_`` is a dot, ``__`` an underscore, ``___`` a dash."""
    environment = parsed(FILES[1])["services"]["kafka"]["environment"]
    told = {
        name.removeprefix("KAFKA_").lower().replace("_", ".").replace("...", "-").replace("..", "_"): str(value)
        for name, value in environment.items()
    }
    kafka = Kafka(tmp_path / "kafka", tmp_path / "kafka.log")
    kafka.folder.mkdir()
    kafka._choose_ports()
    kafka.users.write(kafka.address)
    properties = kafka._write_configuration().read_text()
    embedded = dict(line.split("=", 1) for line in properties.splitlines() if "=" in line)
    passwords = {"${KAFKA_PASSWORD:?}": PLATFORM, "${KAFKA_PRODUCER_PASSWORD:?}": PRODUCER}
    asks = re.compile(r"listener\.(name|security)|sasl|authorizer|super|inter\.broker")
    for name, value in embedded.items():
        if asks.match(name):
            text = told.pop(name)
            for variable, user in passwords.items():
                text = text.replace(variable, kafka.users.password(user))
            assert text == value, name
    assert not [name for name in told if asks.match(name)]


def test_passwords_of_docker_are_in_private_files_alone(tmp_path: Path) -> None:
    """Also where a version before left none for the broker."""
    file = tmp_path / "docker.env"
    file.write_text("KAFKA_PORT=1\nPOSTGRES_PORT=2\nPOSTGRES_PASSWORD=known\n")
    made = Docker(tmp_path)
    values = made._values()
    assert (values["KAFKA_PORT"], values["POSTGRES_PASSWORD"]) == ("1", "known")
    assert values["KAFKA_PASSWORD"] == Users(tmp_path / "keys").password(PLATFORM)
    assert made._values() == values
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
