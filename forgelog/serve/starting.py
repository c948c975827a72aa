"""What a model server is told at its start: its spec, its ports, and where the model's files are."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from events.language.deployments.endpoint_types import EndpointType
from events.language.deployments.serving import ServingSpec
from events.process.hostnames import called, local_only
from events.process.replica_keys import VARIABLE
from events.process.settings import host_names
from forgelog.serve.problems import NotServable

SERVING = "FORGELOG_SERVING"
HTTP_PORT, GRPC_PORT, ADDRESS = "FORGELOG_PORT_HTTP", "FORGELOG_PORT_GRPC", "FORGELOG_ADDRESS"


@dataclass(frozen=True, slots=True)
class Start:
    """What is served, and where it listens."""

    spec: ServingSpec
    folder: Path | None
    """The model's files; None: they are in the object store."""
    addresses: tuple[str, ...]
    http_port: int
    grpc_port: int
    key: str = field(default="", repr=False)
    """What requests must have, since only routers know it; empty: whoever reaches the ports is answered."""
    names: tuple[str, ...] = ()
    """By which names requests may call it where there is no key; empty: by any."""


def read(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Start:
    """From the environment, or of a folder that is named. Raises `NotServable`; argparse ends the process for options
    that are none."""
    asked = _parser().parse_args(arguments)
    if asked.folder is None:
        return _of_environment(environment)
    return _of_folder(asked)


def _of_environment(environment: Mapping[str, str]) -> Start:
    text = environment.get(SERVING)
    if not text:
        raise NotServable(
            f"{SERVING} is not set, which says what a replica serves; to try a model, name its folder: python -m "
            "forgelog.serve FOLDER"
        )
    try:
        spec = ServingSpec.model_validate_json(text)
    except ValidationError as error:
        raise NotServable(f"{SERVING}: {_told(error)}") from None
    addresses = ["127.0.0.1"]
    if (own := environment.get(ADDRESS, "").strip()) and own not in addresses:
        addresses.append(own)
    grpc = _port(environment, GRPC_PORT) if EndpointType.GRPC in spec.endpoints else 0
    return Start(spec, None, tuple(addresses), _port(environment, HTTP_PORT), grpc, environment.get(VARIABLE, ""))


def _port(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise NotServable(f"{name}: {text!r} is no port; a replica's job has the ports http and grpc")
    return int(text)


def _of_folder(asked: argparse.Namespace) -> Start:
    folder = Path(asked.folder).absolute()
    if not folder.is_dir():
        raise NotServable(f"{folder} is no folder; name the one that has the model's files")
    spec: dict[str, Any] = {}
    if asked.spec is not None:
        import yaml

        try:
            spec = yaml.safe_load(Path(asked.spec).read_text()) or {}
        except (OSError, yaml.YAMLError) as error:
            raise NotServable(f"{asked.spec}: {error}") from None
        if not isinstance(spec, dict):
            raise NotServable(f"{asked.spec} should have fields of a serving spec, such as batching:")
    model = {"name": asked.name or folder.name, "version": 1, "bundle": {"digest": "0" * 64, "size": 0}}
    model |= spec.get("model", {})
    if asked.trust_pickle:
        model["trust_pickle"] = True
    if asked.trusted_type:
        model["trusted_types"] = asked.trusted_type
    runtime = {**({"name": asked.runtime} if asked.runtime else {}), **spec.get("runtime", {})}
    if asked.class_name:
        runtime |= {"name": "python", "class_name": asked.class_name}
    whole = {
        "deployment_id": "local",
        "endpoints": [each.value for each in EndpointType if each is not EndpointType.GRAPHQL or asked.graphql],
        **spec,
        "model": model,
        "runtime": runtime,
    }
    try:
        found = ServingSpec.model_validate(whole)
    except ValidationError as error:
        raise NotServable(f"the serving spec: {_told(error)}") from None
    return Start(found, folder, (asked.host,), asked.port, asked.grpc_port, names=_names(asked))


def _names(asked: argparse.Namespace) -> tuple[str, ...]:
    """Those of this machine for a server that only this machine reaches. Raises `NotServable`."""
    try:
        named = host_names(asked.allow_host)
    except ValueError as error:
        raise NotServable(f"--allow-host: {error}") from None
    return called(asked.host, named) if named or local_only(asked.host) else ()


def _told(error: ValidationError) -> str:
    problems = [f"{'.'.join(str(step) for step in each['loc'])}: {each['msg']}" for each in error.errors()[:5]]
    return "; ".join(problems)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m forgelog.serve",
        description=f"Serve a model. Without FOLDER it is a replica's process, and {SERVING} says what it serves.",
    )
    parser.add_argument("folder", nargs="?", metavar="FOLDER", help="the model's files")
    parser.add_argument("--name", help="what requests call the model; the folder's name when left out")
    parser.add_argument("--runtime", help="onnx, sklearn, torchscript, mlflow, python; by the files' names if left out")
    parser.add_argument("--class", dest="class_name", metavar="MODULE:CLASS", help="the class of a model in Python")
    parser.add_argument("--spec", metavar="FILE", help="YAML with more of the serving spec, such as batching:")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument(
        "--allow-host",
        metavar="NAME",
        action="append",
        default=[],
        help="one more name by which requests may call it (repeatable); one that listens on this machine only is "
        "called localhost, 127.0.0.1 and [::1], any other by any name if none is given",
    )
    parser.add_argument("--port", type=int, default=8000, help="of HTTP; 0 for any (default: 8000)")
    parser.add_argument("--grpc-port", type=int, default=8001, help="of gRPC; 0 for any (default: 8001)")
    parser.add_argument("--graphql", action="store_true", help="serve GraphQL too, at /graphql")
    parser.add_argument("--trust-pickle", action="store_true", help="load pickles: that runs what their author wrote")
    parser.add_argument(
        "--trusted-type", action="append", help="a type that skops may make; may be given several times"
    )
    return parser
