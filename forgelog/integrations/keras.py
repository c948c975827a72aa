"""Keras: ``model.fit(..., callbacks=[ForgelogCallback()])``."""

from __future__ import annotations

from typing import Any

from forgelog.integrations import Following, needed
from forgelog.tracking.run import Run

_callbacks: Any = needed("keras.callbacks", "tensorflow.keras.callbacks")


class ForgelogCallback(_callbacks.Callback):  # type: ignore[misc]
    """Logs metrics at the end of each epoch, whose number is the step, and `fit`'s parameters. With `each_batches` also
    those of every so many batches, as ``batch/loss``, by the number of batches so far."""

    def __init__(self, run: Run | None = None, *, each_batches: int = 0, **options: Any) -> None:
        """`run`: log to this one; else begin one with the training, by these options of `forgelog.run`."""
        super().__init__()
        self._following = Following(run, options)
        self._each = each_batches
        self._batches = 0

    @property
    def run(self) -> Run:
        return self._following.run

    def on_train_begin(self, logs: Any = None) -> None:
        self._batches = 0
        self._following.begin()
        self._following.describe({name: value for name, value in (self.params or {}).items() if value is not None})

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._each and self._batches % self._each == 0:
            self._following.log(logs or {}, self._batches, "batch/")
        self._batches += 1

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._following.log(logs or {}, epoch)

    def on_train_end(self, logs: Any = None) -> None:
        self._following.end()
