"""A deployment's own Python before and after the model.

    INPUTS = [{"name": "text", "type": "string", "shape": [-1]}]    # optional: what requests have instead
    def preprocess(inputs, parameters): ...                         # dict of numpy arrays → dict of the model's inputs

    OUTPUTS = [{"name": "answer", "type": "string", "shape": [-1]}]
    def postprocess(outputs, parameters): ...

A script is trusted as the deployment's model is: it runs in the model server's process. What it raises, and time that
it takes beyond its limit, is an error of its request alone.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from events.language.experiments.registry.models import TensorSpec
from events.language.wording import told
from forgelog.serve.limited import LimitedPool, Overrun
from forgelog.serve.problems import Fault, NotServable, NotServableHere, ServingError
from forgelog.serve.runtimes.python import as_tensors
from forgelog.serve.schema import TensorSchema, of_signature
from forgelog.serve.tensors import Array

THREADS = 4
"""Requests whose scripts run at a time."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script that was read."""

    function: Callable[[dict[str, Array], dict[str, Any]], Any]
    name: str
    """``preprocess`` or ``postprocess``."""
    tensors: tuple[TensorSchema, ...] | None
    """What it says of requests or answers; None: the model's own."""

    async def run(
        self, pool: LimitedPool, limit: float, tensors: Mapping[str, Array], parameters: Mapping[str, Any]
    ) -> dict[str, Array]:
        """What it makes of tensors. Raises `ServingError`."""
        try:
            given = await pool.call(lambda: self.function(dict(tensors), dict(parameters)), limit)
        except Overrun:
            raise ServingError(
                Fault.TOO_LATE, f"the deployment's {self.name} took longer than its limit of {limit:g} s"
            ) from None
        except ServingError:
            raise
        except ValueError as error:
            if self.name == "preprocess":  # how a script says that a request is wrong
                raise ServingError(
                    Fault.INVALID, f"the deployment's {self.name} refuses the request: {error}"
                ) from error
            raise self._failed(error) from error
        except Exception as error:
            raise self._failed(error) from error
        return as_tensors(given, f"the deployment's {self.name}")

    def _failed(self, error: Exception) -> ServingError:
        return ServingError(
            Fault.MODEL_FAILED, f"the deployment's {self.name} failed: {type(error).__name__}: {str(error)[:500]}"
        )


def read(source: str, name: str, declared: str) -> Script | None:
    """The script that defines the function `name`; None where there is none. Raises `NotServable` with the line."""
    if not source.strip():
        return None
    namespace: dict[str, Any] = {"__builtins__": builtins, "__name__": f"forgelog_{name}"}
    try:
        exec(compile(source, f"<{name}>", "exec"), namespace)
    except SyntaxError as error:
        raise NotServable(f"processing: line {error.lineno} of the script with {name}: {error.msg}") from None
    except Exception as error:
        raise NotServableHere(
            f"processing: the script with {name} can't be run: {type(error).__name__}: {error}"
        ) from error
    function = namespace.get(name)
    if not callable(function):
        raise NotServable(f"processing: the script defines no {name}(tensors, parameters)")
    specs = namespace.get(declared)
    if specs is None:
        return Script(function, name, None)
    try:
        tensors = of_signature([TensorSpec.model_validate(each) for each in specs])
    except (ValidationError, TypeError) as error:
        raise NotServable(f"processing: {declared} should be a list of name, type and shape: {told(error)}") from None
    return Script(function, name, tensors)
