"""XGBoost: ``xgboost.train(..., callbacks=[ForgelogCallback()])``, or ``XGBClassifier(callbacks=[...])``."""

from __future__ import annotations

import json
from typing import Any

from forgelog.integrations import Following, needed
from forgelog.tracking.run import Run

_callback: Any = needed("xgboost.callback")


class ForgelogCallback(_callback.TrainingCallback):  # type: ignore[misc]
    """Logs each data set's metrics by round, as ``validation/logloss``; the booster's settings as parameters; the best
    round, where training stops early, as tags."""

    def __init__(self, run: Run | None = None, **options: Any) -> None:
        """`run`: log to this one; else begin one with the training, by these options of `forgelog.run`."""
        super().__init__()
        self._following = Following(run, options)

    @property
    def run(self) -> Run:
        return self._following.run

    def before_training(self, model: Any) -> Any:
        self._following.begin()
        self._following.describe(_settings(model))
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        values = {
            f"{data}/{metric}": _last(scores)
            for data, metrics in evals_log.items()
            for metric, scores in metrics.items()
        }
        self._following.log(values, epoch)
        return False

    def after_training(self, model: Any) -> Any:
        best = {name: model.attr(name) for name in ("best_iteration", "best_score")} if hasattr(model, "attr") else {}
        if tags := {f"xgboost.{name}": value for name, value in best.items() if value is not None}:
            self.run.set_tags(tags)
        self._following.end()
        return model


def _last(scores: Any) -> Any:
    """Of cross-validation the mean: there each is a pair with its deviation."""
    last = scores[-1]
    return last[0] if isinstance(last, tuple) else last


def _settings(model: Any) -> dict[str, Any]:
    """A booster's configuration, by dotted names; empty for several of them (cross-validation)."""
    if not hasattr(model, "save_config"):
        return {}
    found: dict[str, Any] = {}
    left = [("", json.loads(model.save_config())["learner"])]
    while left:
        above, part = left.pop()
        for name, value in part.items():
            if isinstance(value, dict):
                left.append((f"{above}{name}.", value))
            elif isinstance(value, str) and "param." in f"{above}.":
                found[name] = value
    return found
