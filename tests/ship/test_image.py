"""The image, by the steps of its Dockerfile without Docker, and the services of `docker-compose.yml` started from it.

What an engine would add is not tried: the base image, the Debian packages, networks, volumes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from ruamel.yaml import YAML

from events.language.contexts import contexts
from events.language.resources.hardware import LAUNCHER_LABEL
from events.process.settings import Settings
from forgelog import AsyncClient
from forgelog.embedded.kafka_users import AGENT
from forgelog.embedded.passfile import password_in
from forgelog.embedded.ports import free_port
from forgelog.embedded.process import until
from tests import PATIENCE
from tests.access import admit_users, as_user
from tests.conftest import Servers, own_settings
from tests.ship import installing
from tests.ship.dockerfile import Builder, Stage
from tests.ship.installing import ROOT, UV
from tests.unit.native.building import compiler, has_headers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not compiler() or not has_headers(), reason="there is no C compiler, or no Python.h"),
]

IMAGES_USER = 10001
OWNER = IMAGES_USER if os.geteuid() == 0 else os.geteuid()
"""Only root may become another user."""


_FITS = """
import sys, sysconfig
assert sys.version_info >= (3, 11)
open(sysconfig.get_path("include") + "/Python.h").close()
"""


def base_python() -> str:
    """An interpreter that the image's user may run, with its headers; this one may lie in a home of root's."""
    for program in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        command = ["env", program, "-c", _FITS]
        if subprocess.run(command, capture_output=True, check=False, cwd="/", **as_owner()).returncode == 0:
            return program
    pytest.skip("no Python here that another user may run, with its headers")


def as_owner() -> dict[str, Any]:
    """Arguments of `subprocess` for the image's user."""
    return {"user": OWNER, "group": OWNER, "extra_groups": ()} if os.geteuid() == 0 else {}


def composed() -> dict[str, Any]:
    """The services of the compose file that are of our image."""
    found = YAML(typ="safe", pure=True).load((ROOT / "docker-compose.yml").read_text())["services"]
    return {name: each for name, each in found.items() if each.get("image") == "forgelog"}


@pytest.fixture(scope="module")
def image(outside: Path) -> Stage:
    folder = outside / "image"
    folder.mkdir()
    base = {
        **installing.outside(),
        "PATH": f"{UV.parent}{os.pathsep}{os.environ['PATH']}",
        "UV_PYTHON": base_python(),
        # what only saves later starts time: the cache's files do, and nothing is compiled that is not used
        "UV_LINK_MODE": "hardlink",
        "UV_COMPILE_BYTECODE": "0",
    }
    built = Builder(ROOT, folder, base, OWNER).build(ROOT / "deploy/Dockerfile")
    # What is used is compiled once, here: the image's user may not write there, so each process would do it anew.
    programs = {f"{service['command'][0]}.__main__" for service in composed().values()}
    used = ", ".join((*sorted(programs), *(f"{each.package}.service" for each in contexts().values())))
    installing.ran(built.root / "venv/bin/python", "-P", "-c", f"import {used}", cwd=folder)
    return built


def test_only_packages_and_the_user_are_left_out_here(image: Stage) -> None:
    assert [" ".join(each.split()[:2]) for each in image.skipped] == [
        "apt-get update",
        "pip install",
        "useradd --system",
    ]
    assert "gcc libc6-dev" in image.skipped[0]
    assert f"--uid {IMAGES_USER} {image.user}" in image.skipped[2]


def test_it_has_packages_and_nothing_to_build_with(image: Stage) -> None:
    assert {each.name for each in image.root.iterdir()} == {"venv", "data", "keys", "objects", "owner", "replicas"}
    for name in ("data", "keys", "objects", "owner", "replicas"):
        status = (image.root / name).stat()
        assert (status.st_uid, status.st_mode & 0o777) == (OWNER, 0o700)


@dataclass
class Containers:
    """The compose file's services of our image, each a process with its folders. A context manager."""

    image: Stage
    told: dict[str, str]
    """What the file can't know of the test's servers."""
    postgres: str
    kafka: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.services = composed()
        self.ports = {name: free_port() for name in self.services}

    def start(self, name: str, **more: str) -> None:
        service = self.services[name]
        own = self.image.root / "data" / name  # a container has its own /data
        own.mkdir(mode=0o700)
        os.chown(own, OWNER, -1)
        environment = {key: self.here(name, str(value)) for key, value in service["environment"].items()}
        environment["FORGELOG_POSTGRES"] = self.postgres if "FORGELOG_POSTGRES" in environment else ""
        del environment["FORGELOG_OTLP_ENDPOINT"]
        image = {**self.image.environment, "FORGELOG_DATA": str(own), "HOME": str(own)}
        with (self.image.root.parent / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*self.image.entrypoint, *service["command"]],
                cwd=own,
                env={**image, **self.told, **environment, **more},
                stdout=log,
                stderr=log,
                **as_owner(),
            )

    def here(self, name: str, value: str) -> str:
        """A value with the containers' addresses and paths as they are here, and what is not set at its default."""
        value = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
        value = re.sub(r"^0\.0\.0\.0:[1-9]\d*$", f"127.0.0.1:{self.ports[name]}", value)
        value = re.sub(r"^0\.0\.0\.0:0$", "127.0.0.1:0", value).replace("kafka:9092", self.kafka)
        for each, port in self.ports.items():
            value = re.sub(rf"\b{each}:\d+", f"127.0.0.1:{port}", value)
        value = re.sub(r"^/data\b", str(self.image.root / "data" / name), value)
        return re.sub(r"^/(keys|owner|replicas)\b", rf"{self.image.root}/\1", value)

    async def healthy(self, name: str) -> None:
        """By the file's own health check."""
        kind, program, *rest = self.services[name]["healthcheck"]["test"]
        assert (kind, program) == ("CMD", "python")
        own = [each.replace(":7070/", f":{self.ports[name]}/") for each in rest]
        said = b""

        def passes() -> bool:
            ended = {each: self.log(each) for each, process in self.processes.items() if process.poll() is not None}
            assert not ended
            nonlocal said
            done = subprocess.run(["python", *own], env=self.image.environment, stderr=subprocess.PIPE, check=False)
            said = done.stderr
            return done.returncode == 0

        reached = await until(passes, PATIENCE, every=0.2)
        logs = [f"--- {each}\n{self.log(each)}" for each in sorted(self.processes, key=lambda each: each == name)]
        assert reached, "\n".join([*logs, said.decode()])  # its own log, which says what is missing, at the end

    def log(self, name: str) -> str:
        return (self.image.root.parent / f"{name}.log").read_text()[-4000:]

    def __enter__(self) -> Containers:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            process.wait(PATIENCE)


async def test_the_compose_files_services_work_from_it_as_its_user(
    image: Stage, servers: Servers, tmp_path: Path, outside: Path
) -> None:
    async with own_settings(servers, tmp_path) as settings:
        await admit_users(settings)
        told = {
            "FORGELOG_PREFIX": settings.prefix,
            "FORGELOG_SCHEMA": settings.schema_,
            "PYTHONPYCACHEPREFIX": str(image.root / "data" / "pycache"),
        }
        with Containers(image, told, given_database(settings), settings.kafka_required) as containers:
            for name in containers.services:
                user = as_user(settings, AGENT) if name == "agent" else settings
                containers.start(name, FORGELOG_KAFKA_CONFIG=readable(user, outside / f"{name}.properties"))
            await containers.healthy("gateway")
            key = (image.root / "owner/owner.key").read_text().strip()
            async with AsyncClient(f"127.0.0.1:{containers.ports['gateway']}", token=key) as client:
                job = await client.submit(name="who", command=["id", "-u"], resources={"memory": "64Mi"})
                assert (await job.wait(timeout=PATIENCE)).status == "completed", containers.log("agent")
                assert "".join([piece.text async for piece in job.logs()]).strip() == str(OWNER)
                (node,) = await client.nodes.list()
            assert node.labels[LAUNCHER_LABEL] == "compiled"


def given_database(settings: Settings) -> str:
    """The address with its password in it, as the compose file has it."""
    address, _, file = settings.postgres_required.partition("?passfile=")
    return address.replace("@", f":{password_in(Path(unquote(file)))}@", 1) if file else address


def readable(settings: Settings, file: Path) -> str:
    """A copy of the user's file for the broker that the image's user may read; empty where the broker asks nobody."""
    if settings.kafka_config is None:
        return ""
    file.touch(mode=0o600)
    file.write_bytes(settings.kafka_config.read_bytes())
    os.chown(file, OWNER, -1)
    return str(file)
