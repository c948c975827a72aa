"""Models in ONNX, by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from events.language.deployments.serving import (
    OptimizationLevel,
    RuntimeSettings,
    ServedModel,
    ServingDevice,
)
from events.language.experiments.registry.models import Quantization
from forgelog.serve.problems import NotServable, NotServableHere, invalid, missing
from forgelog.serve.runtimes.base import LoadedModel, ModelFiles, counts_rows, disagreeing, threads
from forgelog.serve.schema import TensorSchema
from forgelog.serve.tensors import Array, datatype_of, of_objects

_LEVELS = {
    OptimizationLevel.NONE: "ORT_DISABLE_ALL",
    OptimizationLevel.BASIC: "ORT_ENABLE_BASIC",
    OptimizationLevel.EXTENDED: "ORT_ENABLE_EXTENDED",
    OptimizationLevel.ALL: "ORT_ENABLE_ALL",
}

_ENTRIES: Mapping[Quantization, Mapping[str, str]] = {
    # products of 8 bits must not overflow on processors without VNNI
    Quantization.INT8: {"session.x64quantprecision": "1"},
    # products of 4-bit weights are computed in 8 bits
    Quantization.INT4: {"session.qdq_matmulnbits_accuracy_level": "4"},
    Quantization.BF16: {"mlas.enable_gemm_fastmath_arm64_bfloat16": "1"},
}
"""What a session is told of a model's numbers: onnxruntime_session_options_config_keys.h."""

_GPU = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"


def load(files: ModelFiles, settings: RuntimeSettings, _served: ServedModel) -> LoadedModel:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise missing("onnxruntime", "serving", "an ONNX model") from None
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, _LEVELS[settings.optimization])
    options.intra_op_num_threads = threads(settings)
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # threads that wait for work must not take CPU from the requests' own handling
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for key, value in _ENTRIES.get(settings.quantization, {}).items():
        options.add_session_config_entry(key, value)
    there = onnxruntime.get_available_providers()
    if settings.device is ServingDevice.GPU and _GPU not in there:
        raise NotServableHere(
            f"runtime.device is gpu, and this onnxruntime has {', '.join(there)}; install onnxruntime-gpu"
        )
    providers = [_GPU, _CPU] if _GPU in there and settings.device is not ServingDevice.CPU else [_CPU]
    session = onnxruntime.InferenceSession(str(files.only(".onnx")), options, providers=providers)
    return OnnxModel(session)


class OnnxModel:
    """A session. Its thread pool is its own; one batch is computed at a time."""

    platform = "onnxruntime_onnx"
    streams = False
    concurrency = 1

    def __init__(self, session: Any) -> None:
        self._session = session
        self.on_gpu = _GPU in session.get_providers()
        self.computes_itself = not self.on_gpu
        self.inputs = tuple(_schema(each) for each in session.get_inputs())
        # sequences and maps, as scikit-learn's converter makes of probabilities, are left out
        self.outputs = tuple(_schema(each) for each in session.get_outputs() if each.type.startswith("tensor("))
        if not self.outputs:
            raise NotServable("no output of the model is a tensor; export it so (skl2onnx: options={'zipmap': False})")
        self.mergeable = counts_rows(self.inputs) and counts_rows(self.outputs)
        self._names = [each.name for each in self.outputs]
        self._dimensions = {each.name: _dimensions(each) for each in session.get_inputs()}
        self._texts = {each.name for each in self.inputs if each.datatype == "BYTES"}

    def predict(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any]) -> Mapping[str, Array]:
        if self._texts:
            inputs = {name: _decoded(name, array) if name in self._texts else array for name, array in inputs.items()}
        try:
            return dict(zip(self._names, self._session.run(self._names, inputs), strict=True))
        except Exception:
            # Names of dimensions promise equal lengths, and ONNX Runtime holds nobody to that: a model may take others.
            if problem := disagreeing(inputs, self._dimensions):
                raise invalid(problem) from None
            raise

    def stream(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any]) -> Iterator[Mapping[str, Array]]:
        yield self.predict(inputs, parameters)

    def close(self) -> None:
        self._session = None


def _schema(value: Any) -> TensorSchema:
    kind = value.type
    word = kind.removeprefix("tensor(").removesuffix(")")
    try:
        datatype = datatype_of(word)
    except KeyError:
        datatype = ""
    if not kind.startswith("tensor(") or datatype in ("", "BF16"):
        raise NotServable(
            f"{value.name} of the model is {kind}, which can't be served; cast it to float within the model"
        )
    shape = tuple(length if isinstance(length, int) and length >= 0 else -1 for length in value.shape)
    return TensorSchema(value.name, datatype, shape)


def _dimensions(value: Any) -> tuple[str, ...]:
    """The names of its dimensions; empty for one of a fixed length, or without a name."""
    return tuple(length if isinstance(length, str) else "" for length in value.shape)


def _decoded(name: str, array: Array) -> Array:
    """Texts as ONNX Runtime takes them."""
    try:
        texts = [each.decode() for each in array.reshape(-1).tolist()]
    except UnicodeDecodeError:
        raise invalid(f"input {name!r}: has bytes that are no UTF-8; give texts") from None
    return of_objects(texts, array.shape)
