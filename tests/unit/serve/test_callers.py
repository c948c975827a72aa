"""A replica answers who has its deployment's key, and anybody who asks for its health."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from events.process.replica_keys import HEADER, replica_key, replicas_key
from events.process.settings import Settings
from forgelog.serve.callers import Callers
from forgelog.serve.problems import Fault, NotServable, ServingError
from forgelog.serve.starting import read

KEY = "c29tZXRoaW5n"


def scope(path: str, key: bytes | None = None) -> dict[str, Any]:
    headers = [(b"host", b"replica")] + ([] if key is None else [(HEADER.encode(), key)])
    return {"type": "http", "path": path, "headers": headers}


@pytest.mark.parametrize("given", [None, b"", b"c29tZXRoaW5", b"c29tZXRoaW5nd", "schlüssel".encode()])
def test_without_the_key_only_health_is_answered(given: bytes | None) -> None:
    callers = Callers(KEY, "/healthz")
    for path in ("/v2/health/live", "/v2/health/ready", "/healthz"):
        callers.check(scope(path, given))
    for path in ("/v2", "/v2/models/digits/infer", "/metrics", "/v2/health/live/", "/graphql"):
        with pytest.raises(ServingError, match="ask a router") as refused:
            callers.check(scope(path, given))
        assert refused.value.fault is Fault.FORBIDDEN
    text = None if given is None else given.decode()
    metadata = [("user-agent", "x")] + ([] if text is None else [(HEADER, text)])
    callers.check_call("/grpc.health.v1.Health/Check", metadata)
    with pytest.raises(ServingError):
        callers.check_call("/inference.GRPCInferenceService/ModelInfer", metadata)


def test_with_the_key_all_is_answered() -> None:
    callers = Callers(KEY)
    callers.check(scope("/v2/models/digits/infer", KEY.encode()))
    callers.check_call("/inference.GRPCInferenceService/ModelInfer", [(HEADER, KEY)])


def test_a_server_without_a_key_is_open() -> None:
    Callers("").check(scope("/v2"))
    Callers("").check_call("/inference.GRPCInferenceService/ModelInfer", [])


@pytest.mark.parametrize("host", [b"localhost:8000", b"127.0.0.1", b"[::1]:8000", b"LocalHost", b"models.test:80"])
def test_a_server_for_this_machine_is_called_by_its_names(tmp_path: Path, host: bytes) -> None:
    callers = Callers("", names=read([str(tmp_path), "--allow-host", "models.test"], {}).names)
    for headers in ([(b"host", host)], [(b"host", host), (b"origin", b"http://" + host)]):
        asked = {"type": "http", "path": "/v2", "headers": headers}
        callers.check(asked)
        callers.check_header(asked)
        assert callers.is_agent(asked)


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ([(b"host", b"evil.test:8000")], "host: 'evil.test:8000' is no name of this server"),
        ([(b"host", b"localhost.evil.test")], "host: 'localhost.evil.test'"),
        ([], "host: ''"),
        ([(b"host", b"localhost"), (b"origin", b"https://evil.test")], "origin: 'https://evil.test' is no name"),
        ([(b"host", b"localhost"), (b"origin", b"null")], "origin: 'null'"),
    ],
)
def test_and_by_no_other(tmp_path: Path, headers: list[tuple[bytes, bytes]], said: str) -> None:
    callers = Callers("", names=read([str(tmp_path)], {}).names)
    asked = {"type": "http", "path": "/v2/health/live", "headers": headers}
    for check in (callers.check, callers.check_header, callers.is_agent):
        with pytest.raises(ServingError) as error:
            check(asked)
        assert said in error.value.message
        assert "use 127.0.0.1 or localhost, or name it by --allow-host" in error.value.message
        assert error.value.fault is Fault.FORBIDDEN


def test_a_server_for_other_machines_is_called_by_any_name_unless_some_are_given(tmp_path: Path) -> None:
    everywhere = [str(tmp_path), "--host", "0.0.0.0"]
    assert read(everywhere, {}).names == ()
    assert read([*everywhere, "--allow-host", "Models.test"], {}).names == (
        "localhost", "127.0.0.1", "[::1]", "models.test",
    )  # fmt: skip
    with pytest.raises(NotServable, match="--allow-host: should be host names"):
        read([*everywhere, "--allow-host", "a b"], {})
    Callers("").check({"type": "http", "path": "/v2", "headers": [(b"host", b"anything")]})


def test_a_replica_is_asked_for_its_key_and_by_any_name() -> None:
    Callers(KEY, names=("localhost",)).check(scope("/v2", KEY.encode()))


def test_a_replica_reads_its_key_and_does_not_show_it() -> None:
    model = {"name": "m", "version": 1, "bundle": {"digest": "0" * 64, "size": 0}}
    spec = json.dumps({"deployment_id": "d", "revision": 1, "model": model, "endpoints": ["rest"]})
    told = {"FORGELOG_SERVING": spec, "FORGELOG_PORT_HTTP": "8000"}
    start = read([], {**told, "FORGELOG_REPLICA_KEY": KEY})
    assert start.key == KEY
    assert KEY not in repr(start)
    assert read([], told).key == ""


def test_each_deployment_has_a_key_of_its_own(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    secret = replicas_key(settings)
    assert secret == replicas_key(settings), "it was made once"
    assert (tmp_path / "keys/replicas.key").stat().st_mode & 0o777 == 0o600
    keys = {replica_key(secret, id) for id in ("digits", "digits.abc23", "letters")}
    assert len(keys) == 3
    assert all(len(key) == 43 and secret.decode() not in key for key in keys)
    other = replicas_key(Settings(data=tmp_path, replicas_key_file=tmp_path / "other"))
    assert replica_key(other, "digits") not in keys
