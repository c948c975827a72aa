"""A replica gets its version's files from the platform's object store, and goes on without it."""

from __future__ import annotations

import json
from pathlib import Path

from forgelog import AsyncClient
from forgelog.embedded.ports import free_port
from tests.integration.cluster import Cluster
from tests.serving.processes import digits, model_server, refusal, write_digits_model


async def test_files_come_from_the_store_once(platform: Cluster, client: AsyncClient, tmp_path: Path) -> None:
    import asyncio

    write_digits_model(tmp_path / "digits")
    bundle = await client.upload(tmp_path / "digits")
    http = free_port()
    spec = {
        "deployment_id": "digits.abc234",
        "model": {"name": "digits", "version": 1, "bundle": bundle.model_dump(mode="json")},
        "endpoints": ["rest"],
    }
    environment = {
        "FORGELOG_SERVING": json.dumps(spec),
        "FORGELOG_PORT_HTTP": str(http),
        "FORGELOG_MODEL_CACHE": str(tmp_path / "cache"),
        "FORGELOG_GATEWAY": platform.gateway,
        "FORGELOG_TOKEN": platform.key,
    }
    pixels, labels = digits()

    def serve(**changes: str) -> list[int]:
        with model_server(**{**environment, **changes}) as server:
            answer = server.infer("digits", x=("FP32", [50, 64], pixels[:50].tolist()))
            found: list[int] = answer.json["outputs"][0]["data"]
            return found

    found = await asyncio.to_thread(serve)
    assert sum(a == b for a, b in zip(found, labels[:50].tolist(), strict=True)) > 42
    assert await asyncio.to_thread(serve, FORGELOG_GATEWAY="127.0.0.1:1") == found  # nobody is asked again
    spec["model"]["bundle"]["digest"] = "0" * 64  # type: ignore[index]
    missing = {**environment, "FORGELOG_SERVING": json.dumps(spec)}
    assert "error: the model's files can't be had" in await asyncio.to_thread(lambda: refusal(**missing))
