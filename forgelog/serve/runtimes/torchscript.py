"""Models in TorchScript, by PyTorch. The version's signature says what they take and give: their files don't."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from events.language.deployments.serving import OptimizationLevel, RuntimeSettings, ServedModel, ServingDevice
from events.language.experiments.registry.models import Quantization
from forgelog.serve.problems import SIGN, NotServable, NotServableHere, missing
from forgelog.serve.runtimes.base import LoadedModel, ModelFiles, counts_rows, threads
from forgelog.serve.schema import of_signature
from forgelog.serve.tensors import Array

_DTYPES = {Quantization.FP16: "float16", Quantization.BF16: "bfloat16"}


def load(files: ModelFiles, settings: RuntimeSettings, served: ServedModel) -> LoadedModel:
    try:
        import torch
    except ModuleNotFoundError:
        raise missing("torch", "torch", "a TorchScript model") from None
    gpu = torch.cuda.is_available() and settings.device is not ServingDevice.CPU
    if settings.device is ServingDevice.GPU and not gpu:
        raise NotServableHere("runtime.device is gpu, and PyTorch finds none here")
    torch.set_num_threads(threads(settings))
    if settings.quantization is Quantization.INT8:
        torch.backends.quantized.engine = torch.backends.quantized.supported_engines[-1]
    device = "cuda" if gpu else "cpu"
    model = torch.jit.load(str(files.only(".pt", ".pth", ".ts", ".torchscript")), map_location=device).eval()
    if (dtype := _DTYPES.get(settings.quantization)) is not None:
        model = model.to(getattr(torch, dtype))
    if settings.optimization in (OptimizationLevel.EXTENDED, OptimizationLevel.ALL):
        model = torch.jit.optimize_for_inference(torch.jit.freeze(model))
    return TorchModel(torch, model, device, dtype, served)


class TorchModel:
    """A module of TorchScript: its arguments are the signature's inputs, in order, as are its results."""

    platform = "pytorch_libtorch"
    streams = False
    concurrency = 1

    def __init__(self, torch: Any, model: Any, device: str, dtype: str | None, served: ServedModel) -> None:
        """Raises `NotServable`."""
        self._torch, self._model, self._device, self._dtype = torch, model, device, dtype
        self.on_gpu = device == "cuda"
        self.inputs = of_signature(served.signature.inputs)
        self.outputs = of_signature(served.signature.outputs, "output")
        if not self.inputs or not self.outputs:
            raise NotServable(f"a TorchScript file does not say what it takes; {SIGN}")
        self.mergeable = counts_rows(self.inputs) and counts_rows(self.outputs)

    def predict(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any]) -> Mapping[str, Array]:
        torch = self._torch
        given = [self._tensor(inputs[each.name]) for each in self.inputs if each.name in inputs]
        with torch.inference_mode():
            answer = self._model(*given)
        answers = answer if isinstance(answer, tuple | list) else (answer,)
        if len(answers) != len(self.outputs):
            raise ValueError(f"the model gave {len(answers)} tensors, and its signature has {len(self.outputs)}")
        return {each.name: self._array(one) for each, one in zip(self.outputs, answers, strict=True)}

    def stream(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any]) -> Iterator[Mapping[str, Array]]:
        yield self.predict(inputs, parameters)

    def close(self) -> None:
        self._model = None

    def _tensor(self, array: Array) -> Any:
        found = self._torch.from_numpy(np.array(array)).to(self._device)  # a copy: a request's bytes are read-only
        return found.to(getattr(self._torch, self._dtype)) if self._dtype and found.is_floating_point() else found

    def _array(self, tensor: Any) -> Array:
        if tensor.dtype == self._torch.bfloat16:
            tensor = tensor.float()
        found: Array = tensor.detach().cpu().numpy()
        return found
