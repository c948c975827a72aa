"""The broker and the database from a Docker engine, for those who have one. Must not know the embedded ones.

Only used through the `docker` command, as its users do; containers restart by themselves, so nobody watches them here.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from events.process.keys import FOLDER as KEYS
from forgelog.embedded.kafka_users import PLATFORM, PRODUCER, Users
from forgelog.embedded.ports import free_port
from forgelog.embedded.process import EmbeddedError, run_through, write_atomically


def available() -> bool:
    """Whether a Docker engine answers and has the compose plugin."""
    if shutil.which("docker") is None:
        return False
    try:
        # `info --format` exits with 0 even without an engine: the server's version is what proves one.
        info = _run(["docker", "info", "--format", "{{.ServerVersion}}"], timeout=10)
        compose = _run(["docker", "compose", "version"], timeout=10)
    except subprocess.TimeoutExpired:
        return False
    return info.returncode == 0 and bool(info.stdout.strip()) and compose.returncode == 0


class Docker:
    """One compose project per data folder; its volumes hold the data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._users = Users(folder / KEYS)
        self.project = f"forgelog-{hashlib.sha256(str(folder).encode()).hexdigest()[:10]}"
        self._env_file = folder / "docker.env"

    def up(self, services: Sequence[str]) -> tuple[str, str]:
        """Start the wanted ones of `kafka` and `postgres`; their addresses. Raises EmbeddedError.

        The broker lets in the platform's own user; the others come in once `Users.admit` has told it of them.
        """
        values = self._values()
        self._compose(["up", "--detach", "--wait", *services], "start")
        dsn = f"postgresql://forgelog:{values['POSTGRES_PASSWORD']}@127.0.0.1:{values['POSTGRES_PORT']}/postgres"
        return f"127.0.0.1:{values['KAFKA_PORT']}", dsn

    def stop(self) -> None:
        """Stop the containers; volumes and ports stay."""
        if self._env_file.exists():
            self._compose(["stop"], "stop")

    def _values(self) -> dict[str, str]:
        """Ports and passwords as they were, and those that are missing: a version before had none for the broker."""
        values: dict[str, str] = {}
        if self._env_file.exists():
            lines = self._env_file.read_text().splitlines()
            values = dict(line.split("=", 1) for line in lines if "=" in line)
        else:
            values["KAFKA_PORT"] = str(free_port())
            values["POSTGRES_PORT"] = str(free_port())
            values["POSTGRES_PASSWORD"] = secrets.token_urlsafe(18)
        self._users.write(f"127.0.0.1:{values['KAFKA_PORT']}")
        values["KAFKA_PASSWORD"] = self._users.password(PLATFORM)
        values["KAFKA_PRODUCER_PASSWORD"] = self._users.password(PRODUCER)
        write_atomically(self._env_file, "".join(f"{key}={value}\n" for key, value in values.items()), mode=0o600)
        return values

    def _compose(self, arguments: list[str], what: str) -> None:
        compose_file = str(files("forgelog.embedded").joinpath("servers.compose.yml"))
        command = ["docker", "compose", "--project-name", self.project, "--file", compose_file]
        command += ["--env-file", str(self._env_file), *arguments]
        ran = run_through(f"`docker compose {arguments[0]}`", command, stdin=subprocess.DEVNULL)
        if ran.returncode != 0:
            raise EmbeddedError(
                f"Docker could not {what} the servers: {ran.stderr.strip() or ran.stdout.strip()}. Repair that, or use "
                f"the embedded ones with `forgelog up --servers embedded`, or set FORGELOG_KAFKA and FORGELOG_POSTGRES."
            )


def _run(command: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=timeout, stdin=subprocess.DEVNULL
    )
