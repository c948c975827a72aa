"""Lightning: ``Trainer(logger=ForgelogLogger())``. What modules log by ``self.log`` comes here."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forgelog.integrations import Following, needed
from forgelog.tracking.checking import flat
from forgelog.tracking.run import Run

_loggers: Any = needed("lightning.pytorch.loggers", "pytorch_lightning.loggers")
_ranks: Any = needed("lightning.pytorch.utilities.rank_zero", "pytorch_lightning.utilities.rank_zero")

_ENDS = {"success": "finished", "finished": "finished", "failed": "failed"}


class ForgelogLogger(_loggers.Logger):  # type: ignore[misc]
    """Logs metrics by their step and hyperparameters as parameters, from the process of rank 0 alone. With
    `log_checkpoints`, the best and the last checkpoint become artifacts, in ``checkpoints``, when training ends."""

    def __init__(self, run: Run | None = None, *, log_checkpoints: bool = False, **options: Any) -> None:
        """`run`: log to this one; else begin one with the training, by these options of `forgelog.run`."""
        super().__init__()
        self._following = Following(run, options)
        self._experiment = options.get("experiment", "")
        self._log_checkpoints = log_checkpoints
        self._checkpoints: Any = None

    @property
    def run(self) -> Run:
        """Begun at its first use, in the process of rank 0."""
        return self._following.run

    @property
    def experiment(self) -> Run:
        """The run, as Lightning calls it."""
        return self._following.run

    @property
    def name(self) -> str:
        return str(self._experiment or "forgelog")

    @property
    def version(self) -> str:
        """The run's id in the process of rank 0."""
        return self.run.id if _ranks.rank_zero_only.rank == 0 else ""

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        if _ranks.rank_zero_only.rank == 0:
            told = vars(params) if isinstance(params, Namespace) else dict(params or {})
            self._following.describe(dict(flat(told)))

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        if _ranks.rank_zero_only.rank == 0:
            self._following.log(metrics, step)

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        self._checkpoints = checkpoint_callback

    def finalize(self, status: str) -> None:
        if _ranks.rank_zero_only.rank != 0:
            return
        if self._log_checkpoints and self._checkpoints is not None:
            paths = {getattr(self._checkpoints, name, "") for name in ("best_model_path", "last_model_path")}
            for path in sorted(filter(None, paths)):
                if Path(path).exists():
                    self.run.log_artifact(path, folder="checkpoints")
        self._following.end(_ENDS.get(status, "failed"), "" if status in _ENDS else status)
