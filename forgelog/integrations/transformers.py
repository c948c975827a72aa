"""Transformers: ``Trainer(..., callbacks=[ForgelogCallback()])``."""

from __future__ import annotations

from typing import Any

from forgelog.integrations import Following, needed
from forgelog.tracking.run import Run

_trainer: Any = needed("transformers.trainer_callback")

_SECRETS = ("token", "key", "password", "secret")


class ForgelogCallback(_trainer.TrainerCallback):  # type: ignore[misc]
    """Logs what the trainer logs, by its global step, and its arguments as parameters (none whose name is a secret's).
    Of a training in several processes the first one logs."""

    def __init__(self, run: Run | None = None, **options: Any) -> None:
        """`run`: log to this one; else begin one with the training, by these options of `forgelog.run`."""
        super().__init__()
        self._following = Following(run, options)

    @property
    def run(self) -> Run:
        return self._following.run

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self._following.begin()
            told = args.to_dict() if hasattr(args, "to_dict") else {}
            self._following.describe(
                {
                    name: value
                    for name, value in told.items()
                    if value not in (None, "") and not any(part in name.split("_") for part in _SECRETS)
                }
            )

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if state.is_world_process_zero and logs:
            self._following.log(logs, state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self._following.end()
