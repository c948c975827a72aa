"""What a task's process finds around it: variables, secrets, folder. Builds what its warden is told.

A task gets the variables below and its job's own, not the agent's: those hold addresses and passwords of the platform.
"""

from __future__ import annotations

import errno
import math
import os
import stat
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from events.language.jobs import ExitReason
from events.language.jobs.spec import JobEnvironment
from events.language.jobs.spec_service import port_variable
from events.log.ids import deployment_of
from events.objects.remote import RemoteError, RemoteObjects
from events.process.exit_message import VARIABLE as EXIT_MESSAGE
from events.process.front_door import CA, ca_file
from events.process.keys import KeyFileProblem, read_key
from events.process.replica_keys import VARIABLE, replica_key
from events.process.settings import SettingsError
from services.resources.agent import exit_message, mlflow_client
from services.resources.agent.attempts import Attempt, Exit, Task
from services.resources.agent.draining import SPOOL

INHERITED = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
)  # fmt: skip
"""Variables of the agent that a task sees too, beside ``LC_*``."""

COLLECTOR = "FORGELOG_OTLP_ENDPOINT"
"""Where traces go: replicas are told, since a request's trace goes through them."""

MAX_SECRET = 128 << 10
"""Bytes of a secret; the kernel's limit for a variable (MAX_ARG_STRLEN)."""


class NoWayToObjects(RemoteError):
    """This node can't ask for the platform's objects. Says why, and what to do."""


class Around:
    """What is the same for all tasks of a node."""

    def __init__(
        self,
        node: str,
        folder: Path,
        secrets: Path,
        gateway: str,
        environment: Mapping[str, str],
        output_bytes: int | None = None,
        token_file: Path | None = None,
        address: str = "127.0.0.1",
        replicas_key: Callable[[], bytes] | None = None,
    ) -> None:
        """`folder`: the agent's. `environment`: the agent's own. `output_bytes`: kept of what an attempt prints.
        `token_file`: has the platform's key; a task is told the file and never the key. `address`: by which tasks of
        services are called on this node. `replicas_key`: gives what the keys of replicas follow from, or raises
        SettingsError; left out, there are none."""
        self.address = address
        self._replicas_key = replicas_key
        self._output_bytes = output_bytes
        self._gateway, self._token_file = gateway, token_file
        self._collector = environment.get(COLLECTOR, "")
        self.node = node
        self._tasks = folder / "tasks"
        self._scratch = folder / "scratch"
        self._secrets = secrets
        self._variables = {
            name: value for name, value in environment.items() if name in INHERITED or name.startswith("LC_")
        }
        self._variables.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
        if gateway:
            self._variables["FORGELOG_GATEWAY"] = gateway
        self._ca_file = ca_file(environment)
        if environment.get(CA):
            self._variables[CA] = self._ca_file
        if token_file is not None:
            self._variables["FORGELOG_TOKEN_FILE"] = str(token_file)

    def objects(self, stopped: threading.Event) -> RemoteObjects:
        """The platform's objects. Raises NoWayToObjects."""
        lacks = "FORGELOG_GATEWAY" if not self._gateway else "FORGELOG_TOKEN_FILE" if self._token_file is None else ""
        if lacks or self._token_file is None:
            raise NoWayToObjects(
                f"the agent of node {self.node} has no {lacks}, by which it speaks with the platform; set it there"
            )
        try:
            key = read_key(self._token_file)
        except KeyFileProblem as problem:
            raise NoWayToObjects(f"FORGELOG_TOKEN_FILE: {problem}") from None
        return RemoteObjects(self._gateway, key, stopped=stopped)

    def speaking(self) -> dict[str, str]:
        """The environment of a program that speaks with the platform, as a task may; empty if none can."""
        return {**self._variables} if self._gateway and self._token_file is not None else {}

    def folder_of(self, attempt: Attempt) -> str:
        """Where it runs; empty for the working folder of its own."""
        assert attempt.bound is not None
        return attempt.bound.launch.environment.working_directory if attempt.folder is None else attempt.folder

    def spec(self, attempt: Attempt) -> dict[str, Any]:
        """What `warden.watch_over` takes. A secret that can't be read is told there as the reason not to start."""
        bound, task = attempt.bound, attempt.task
        assert bound is not None
        launch = bound.launch
        task_folder = f"{self._scratch}/{task.key}"
        process = {"job": task.job_id, "task": str(task.task), "attempt": str(task.attempt)}
        variables = {
            **self._variables,
            "OMP_NUM_THREADS": str(max(1, math.ceil(bound.resources.cpus))),
            "FORGELOG_PROJECT": task.project,
            "FORGELOG_PYTHON": sys.executable,  # has Forgelog; the task's own may not
            **mlflow_client.variables(
                self._gateway, task.project, process, launch.environment.variables, self._ca_file
            ),
            **launch.environment.variables,
            "FORGELOG_JOB": task.job_id,
            "FORGELOG_TASK": str(task.task),
            "FORGELOG_ATTEMPT": str(task.attempt),
            "FORGELOG_ARRAY_SIZE": str(launch.array_size),
            "FORGELOG_NODE": self.node,
            "FORGELOG_ADDRESS": self.address,
            **{port_variable(name): str(port) for name, port in task.ports},
            "FORGELOG_ALLOCATION": task.allocation_id,
            "FORGELOG_SPOOL": f"{task_folder}/{SPOOL}",
            EXIT_MESSAGE: f"{task_folder}/{exit_message.FILE}",
            # The driver's numbering is by bus; CUDA's own default is by speed.
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "CUDA_VISIBLE_DEVICES": ",".join(map(str, task.gpus)),
        }
        if task.traceparent:
            variables["TRACEPARENT"] = task.traceparent
        files, refused = self._read_secrets(launch.environment, variables)
        refused = refused or self._tell_replica(task, variables)
        if files:
            variables["FORGELOG_SECRETS"] = f"{task_folder}/secrets"
        return {
            "key": task.key,
            "folder": f"{self._tasks}/{task.key}",
            "task_folder": task_folder,
            "record": task.record(),
            "command": launch.command,
            "args": list(launch.args),
            "env": variables,
            "secrets": files,
            "refused": refused,
            "cwd": self.folder_of(attempt),
            "grace": launch.grace_seconds,
            "max_runtime": launch.max_runtime_seconds,
            "output_bytes": self._output_bytes,
        }

    def told(self, task: Task, exit: Exit) -> Exit:
        """An end with what the task itself says of it, if it ended by itself and nothing else is said."""
        if exit.reason is not ExitReason.EXITED or exit.message:
            return exit
        return replace(exit, message=self._exit_message(task))

    def _exit_message(self, task: Task) -> str:
        """Without the values of its secrets; empty if it says nothing."""
        text = exit_message.read(f"{self._scratch}/{task.key}")
        if not text:
            return ""
        secrets = [self.key_of(task)]
        for name in task.secrets:
            try:
                secrets.append(_read_secret(self._secrets / name).decode("utf-8", "surrogateescape"))
            except OSError as error:
                return (
                    f"what it wrote to {EXIT_MESSAGE} is not told: its secret {name!r}, which must not be in "
                    f"it, can't be read any more: {error.strerror}"
                )
        return exit_message.without(text, secrets)

    def key_of(self, task: Task) -> str:
        """The key of a replica's deployment; empty where there is none."""
        deployment = deployment_of(task.job_id, task.project)
        if not deployment or self._replicas_key is None:
            return ""
        try:
            return replica_key(self._replicas_key(), deployment)
        except SettingsError:
            return ""  # told at the replica's start

    def _tell_replica(self, task: Task, variables: dict[str, str]) -> str:
        """Puts the key by which a replica knows routers, and where its spans go, into its variables; returns what went
        wrong."""
        deployment = deployment_of(task.job_id, task.project)
        if not deployment or self._replicas_key is None:
            return ""
        if self._collector:
            variables.setdefault(COLLECTOR, self._collector)
        try:
            variables[VARIABLE] = replica_key(self._replicas_key(), deployment)
        except SettingsError as problem:
            return f"node {self.node} can't tell its replicas of routers: {problem}"
        return ""

    def _read_secrets(self, wanted: JobEnvironment, variables: dict[str, str]) -> tuple[dict[str, str], str]:
        """Puts secrets into the variables they are for; returns those that become files, and what went wrong."""
        files: dict[str, str] = {}
        for secret in wanted.secrets:
            path = self._secrets / secret.name
            try:
                value = _read_secret(path)
            except OSError as error:
                return {}, (
                    f"secret {secret.name!r} can't be read on node {self.node}: {error.strerror}; "
                    f"put its value into the file {path}"
                )
            if len(value) > MAX_SECRET:
                return {}, f"secret {secret.name!r} is longer than {MAX_SECRET} bytes"
            text = value.decode("utf-8", "surrogateescape")
            if secret.env is None:
                files[secret.name] = text
            else:
                variables[secret.env] = text.rstrip("\r\n")
        return files, ""


def _read_secret(path: Path) -> bytes:
    """Links are followed, since mounted secrets are links; but what is no plain file does not let us wait."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(file, "rb") as reader:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "is no plain file", str(path))
        return reader.read(MAX_SECRET + 1)
