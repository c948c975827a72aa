"""Callbacks by which other libraries' trainings log to runs: a module for each library, which needs that library.

    from forgelog.integrations.xgboost import ForgelogCallback      # xgboost
    from forgelog.integrations.lightning import ForgelogLogger      # lightning, or pytorch_lightning
    from forgelog.integrations.transformers import ForgelogCallback # transformers
    from forgelog.integrations.keras import ForgelogCallback        # keras

Each logs to the run that it is given, and leaves its end to you; without one it begins a run of its own with the
training, and ends it with the training. This module has what they share, and needs none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from forgelog.tracking import checking
from forgelog.tracking.beginning import run as begin_run
from forgelog.tracking.run import Run

MOST_NAMED = 1_000
"""Most parameters that a library tells."""


def needed(*names: str) -> ModuleType:
    """The first of these modules that there is. Raises ImportError that says what to install."""
    for name in names:
        try:
            return import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise  # it is there, and lacks something itself
    raise ModuleNotFoundError(f"this needs {' or '.join(names)}: pip install {names[0].split('.')[0]}", name=names[0])


class Following:
    """A training's run: one that was given, or one of its own."""

    def __init__(self, run: Run | None, options: Mapping[str, Any]) -> None:
        """`options`: of `forgelog.run`, for a run of its own. Raises TypeError for both at once."""
        if run is not None and options:
            raise TypeError(f"a run is given, so {', '.join(options)} can't be: say it where the run begins")
        self._given = run
        self._options = options
        self._own: Run | None = None
        self._open = False

    @property
    def run(self) -> Run:
        """The run; its own is begun at the first use, and stays known when it has ended."""
        if self._given is not None:
            return self._given
        if self._own is None:
            self._own, self._open = begin_run(**self._options), True
        return self._own

    def begin(self) -> None:
        """A training begins, with a run of its own. An earlier one that did not end has failed."""
        self.end("failed", "its training was broken off")
        self._own = None
        self._going_on()

    def _going_on(self) -> Run:
        """The run, also where it had ended: a test behind the training, say."""
        found = self.run
        if self._given is None and not self._open:
            found.resume()
            self._open = True
        return found

    def log(self, values: Mapping[str, Any], step: int | None, prefix: str = "") -> None:
        """Log those that are numbers, under names that are cut to what a name may have."""
        found: dict[str, float] = {}
        for name, value in values.items():
            if (number := _number(value)) is not None:
                found[f"{prefix}{name}"[: checking.MAX_KEY]] = number
        if found:
            self._going_on().log(found, step=step)

    def describe(self, params: Mapping[str, Any]) -> None:
        """Log what a library tells of its settings, as far as it can be: parameters keep their first value."""
        run = self._going_on()
        known = run.params
        found: dict[str, str] = {}
        for name, value in params.items():
            text, key = str(value), str(name)[: checking.MAX_KEY]
            if key.strip() and key.isprintable() and len(text) <= checking.MAX_PARAM and known.get(key, text) == text:
                found[key] = text
        run.log_params(dict([*found.items()][:MOST_NAMED]))

    def end(self, status: str = "finished", reason: str = "") -> None:
        """A training has ended. A run that was given stays open."""
        if self._own is not None and self._open:
            self._own.end(status, reason)
        self._open = False


def _number(value: Any) -> float | None:
    """As a float, also of an array or tensor with one element; None if it is no number."""
    if isinstance(value, (str, bytes)) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None
