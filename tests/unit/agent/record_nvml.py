"""Writes down what this machine's driver answers while `gpus` describes it, in the form of `nvml.json`.

Run on a machine with a GPU: ``python -m tests.unit.agent.record_nvml "one H100" >answers.json``. UUIDs are replaced by
plain ones of the same form. Unlike the agent, it raises what the driver raises when it can't be opened.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from typing import Any

import pynvml

from services.resources.agent import gpus

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Recorder:
    """`pynvml`, and what it was asked and said: call, arguments joined by commas, answer."""

    def __init__(self) -> None:
        self.answers: dict[str, dict[str, Any]] = {}
        self._names: dict[int, str] = {}
        self._handles: list[Any] = []  # kept, so that no other object gets the id of one

    def __getattr__(self, name: str) -> Any:
        real = getattr(pynvml, name)
        return self._call(name, real) if name.startswith("nvml") and callable(real) else real

    def _call(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            said = [self._names.get(id(arg), arg) for arg in args]
            heard = self.answers.setdefault(name, {})
            key = ",".join(map(str, said))
            try:
                answer = real(*args)
            except pynvml.NVMLError as error:
                heard[key] = {"error": type(error).__name__}
                raise
            if "HandleBy" in name:
                kind = "mig" if "Mig" in name else "gpu"
                self._names[id(answer)] = f"{kind}:{key.removeprefix('gpu:').replace(',', ':')}"
                self._handles.append(answer)
                heard[key] = {"handle": self._names[id(answer)]}
            else:
                heard[key] = _plain(answer)
            return answer

        return call


def _plain(answer: Any) -> Any:
    if isinstance(answer, bytes):
        return _plain(answer.decode())
    if isinstance(answer, str):
        return _UUID.sub(lambda found: re.sub("[0-9a-f]", "0", found[0]), answer)
    if isinstance(answer, (list, tuple)):
        return [_plain(part) for part in answer]
    if hasattr(answer, "_fields_"):
        return {
            field[0]: _plain(getattr(answer, field[0]))
            for field in answer._fields_
            if isinstance(getattr(answer, field[0]), (int, float, str, bytes))
        }
    return answer


def main(machine: str) -> None:
    pynvml.nvmlInit()
    recorder = Recorder()
    described = gpus.describe(recorder)
    json.dump({machine: recorder.answers}, sys.stdout, indent=1)
    for gpu in described:
        print(gpu.model_dump_json(indent=1, exclude_defaults=True), file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1])
