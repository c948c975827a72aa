"""What the protocol tells of the server and its model: metadata, configuration, statistics, the index. Pure."""

from __future__ import annotations

from typing import Any

from forgelog.serve.engine import Engine
from forgelog.serve.schema import TensorSchema, without_rows

NAME = "forgelog"
EXTENSIONS = ("classification", "model_configuration", "model_repository(index)", "binary_tensor_data", "statistics",
              "generate")  # fmt: skip


def server_metadata(release: str) -> dict[str, Any]:
    return {"name": NAME, "version": release, "extensions": list(EXTENSIONS)}


def model_metadata(engine: Engine) -> dict[str, Any]:
    return {
        "name": engine.spec.model.name,
        "versions": [engine.version],
        "platform": engine.model.platform,
        "inputs": [_tensor(each) for each in engine.inputs.tensors],
        "outputs": [_tensor(each) for each in engine.outputs.tensors],
    }


def model_config(engine: Engine) -> dict[str, Any]:
    """Triton's configuration: shapes are without rows where the model computes several at once."""
    rows = engine.rows_at_once
    config: dict[str, Any] = {
        "name": engine.spec.model.name,
        "platform": engine.model.platform,
        "backend": engine.spec.runtime.name,
        "max_batch_size": rows,
        "input": [
            {**_configured(each, rows), **({} if each.required else {"optional": True})}
            for each in engine.inputs.tensors
        ],
        "output": [_configured(each, rows) for each in engine.outputs.tensors],
        "parameters": {
            "forgelog_deployment": {"string_value": engine.spec.deployment_id},
            "forgelog_revision": {"string_value": str(engine.spec.revision)},
        },
        "model_transaction_policy": {"decoupled": engine.model.streams},
    }
    if rows:
        delay = int(engine.spec.batching.timeout_ms * 1000)
        config["dynamic_batching"] = {"preferred_batch_size": [rows], "max_queue_delay_microseconds": delay}
    return config


def index(engine: Engine) -> list[dict[str, Any]]:
    state, reason = ("READY", "") if engine.ready else ("UNAVAILABLE", engine.problem)
    return [{"name": engine.spec.model.name, "version": engine.version, "state": state, "reason": reason}]


def _tensor(tensor: TensorSchema) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


def _configured(tensor: TensorSchema, rows: int) -> dict[str, Any]:
    shape = without_rows(tensor).shape if rows else tensor.shape
    word = {"BYTES": "STRING"}.get(tensor.datatype, tensor.datatype)
    return {"name": tensor.name, "data_type": f"TYPE_{word}", "dims": list(shape)}
