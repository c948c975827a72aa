"""Callbacks of other libraries. XGBoost is the real one; of the others, which are large, there is what their callbacks
are made from, in the same shape."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import forgelog
from tests.unit.tracking.inputs import journal, recorded

pytestmark = pytest.mark.usefixtures("spool")

Points = list[tuple[str, int, float]]


def points(spool: Path) -> Points:
    return sorted((each.series[0], each.step, round(each.value, 6)) for each in recorded(spool))


def params(spool: Path) -> dict[str, str]:
    return {key: value for _, body in journal(spool) for key, value in body.get("params", {}).items()}


def ends(spool: Path) -> list[str]:
    return [body["status"] for kind, body in journal(spool) if kind == "EndRun"]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes modules that are not installed here, and has the integration imported anew with them."""

    def make(integration: str, **modules: dict[str, Any]) -> None:
        for name, content in modules.items():
            path = name.replace("__", ".")
            parts = path.split(".")
            for end in range(1, len(parts) + 1):
                part = ".".join(parts[:end])
                if part not in sys.modules:
                    monkeypatch.setitem(sys.modules, part, ModuleType(part))
            vars(sys.modules[path]).update(content)
        monkeypatch.delitem(sys.modules, f"forgelog.integrations.{integration}", raising=False)

    return make


# XGBoost


def trained(callback: Any, rounds: int = 4, **more: Any) -> Any:
    import xgboost

    chance = np.random.default_rng(7)
    given = chance.random((60, 3))
    data = xgboost.DMatrix(given, (given[:, 0] > 0.5).astype(int))
    settings = {"max_depth": 2, "objective": "binary:logistic", "nthread": 1}
    return xgboost.train(
        settings, data, rounds, evals=[(data, "train")], callbacks=[callback], verbose_eval=False, **more
    )


def test_xgboost_logs_each_round_and_its_settings(spool: Path) -> None:
    from forgelog.integrations.xgboost import ForgelogCallback

    callback = ForgelogCallback(experiment="trees", name="first")
    trained(callback)
    found = points(spool)
    assert [(key, step) for key, step, _ in found] == [("train/logloss", step) for step in range(4)]
    assert found[-1][2] < found[0][2]
    assert (params(spool)["max_depth"], params(spool)["objective"]) == ("2", "binary:logistic")
    assert journal(spool)[0][1]["experiment"] == "trees"
    assert ends(spool) == ["finished"]
    assert callback.run.id in next(spool.iterdir()).name


def test_xgboost_tells_the_best_round_and_leaves_a_given_run_open(spool: Path) -> None:
    from forgelog.integrations.xgboost import ForgelogCallback

    with forgelog.run("trees") as run:
        trained(ForgelogCallback(run), 30, early_stopping_rounds=2)
        assert ends(spool) == []
    tags = {key: value for _, body in journal(spool) for key, value in body.get("tags", {}).items()}
    assert tags.keys() == {"xgboost.best_iteration", "xgboost.best_score"}
    assert ends(spool) == ["finished"]


def test_a_training_that_broke_off_has_failed_when_the_next_begins(spool: Path) -> None:
    import xgboost

    from forgelog.integrations.xgboost import ForgelogCallback

    class Breaks(xgboost.callback.TrainingCallback):  # type: ignore[misc]
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            raise LookupError("no more")

    callback = ForgelogCallback(experiment="trees")
    with pytest.raises(LookupError):
        xgboost.train({}, xgboost.DMatrix(np.ones((4, 1)), np.ones(4)), 2, callbacks=[callback, Breaks()])
    trained(callback)
    assert sorted(ends(spool)) == ["failed", "finished"]


def test_a_run_and_what_a_run_begins_with_do_not_go_together() -> None:
    from forgelog.integrations.xgboost import ForgelogCallback

    with forgelog.run("trees") as run, pytest.raises(TypeError, match="a run is given, so experiment"):
        ForgelogCallback(run, experiment="other")


# Keras


class KerasCallback:
    """As `keras.callbacks.Callback`."""

    params: Any = None

    def set_params(self, params: Any) -> None:
        self.params = params


def test_keras_logs_epochs_and_batches(spool: Path, library: Any) -> None:
    library("keras", keras__callbacks={"Callback": KerasCallback})
    callback = import_module("forgelog.integrations.keras").ForgelogCallback(experiment="nets", each_batches=2)
    callback.set_params({"epochs": 2, "steps": 3, "verbose": None})
    callback.on_train_begin({})
    for epoch in range(2):
        for batch in range(3):
            callback.on_train_batch_end(batch, {"loss": np.float32(batch)})
        callback.on_epoch_end(epoch, {"loss": 0.5 - epoch / 10, "val_loss": 0.6})
    callback.on_train_end()
    assert points(spool) == [
        ("batch/loss", 0, 0.0),
        ("batch/loss", 2, 2.0),
        ("batch/loss", 4, 1.0),
        ("loss", 0, 0.5),
        ("loss", 1, 0.4),
        ("val_loss", 0, 0.6),
        ("val_loss", 1, 0.6),
    ]
    assert params(spool) == {"epochs": "2", "steps": "3"}
    assert ends(spool) == ["finished"]


# Transformers


@pytest.mark.parametrize("first", [True, False])
def test_transformers_logs_by_the_global_step_in_the_first_process_alone(
    spool: Path, library: Any, first: bool
) -> None:
    library("transformers", transformers__trainer_callback={"TrainerCallback": type("TrainerCallback", (), {})})
    callback = import_module("forgelog.integrations.transformers").ForgelogCallback(experiment="texts")
    state = SimpleNamespace(is_world_process_zero=first, global_step=0)
    told = {"learning_rate": 5e-5, "push_to_hub_token": "<TOKEN>", "logging_dir": None}
    arguments = SimpleNamespace(to_dict=lambda: told)
    callback.on_train_begin(arguments, state, None, model=None)
    state.global_step = 10
    callback.on_log(arguments, state, None, logs={"loss": 0.5, "epoch": 0.1, "note": "text"}, model=None)
    callback.on_train_end(arguments, state, None)
    if first:
        assert points(spool) == [("epoch", 10, 0.1), ("loss", 10, 0.5)]
        assert params(spool) == {"learning_rate": "5e-05"}
        assert ends(spool) == ["finished"]
    else:
        assert not spool.exists()


# Lightning


@pytest.mark.parametrize("package", ["lightning__pytorch", "pytorch_lightning"])
def test_lightning_logs_metrics_hyperparameters_and_checkpoints(
    spool: Path, library: Any, tmp_path: Path, package: str
) -> None:
    ranks = SimpleNamespace(rank=0)
    library(
        "lightning",
        **{
            f"{package}__loggers": {"Logger": type("Logger", (), {})},
            f"{package}__utilities__rank_zero": {"rank_zero_only": ranks},
        },
    )
    logger = import_module("forgelog.integrations.lightning").ForgelogLogger(experiment="nets", log_checkpoints=True)
    logger.log_hyperparams({"lr": 0.1, "net": {"depth": 3}})
    logger.log_hyperparams(Namespace(lr=0.2, width=8))  # a parameter keeps its first value
    logger.log_metrics({"train_loss": 0.5, "epoch": 0}, step=1)
    ranks.rank = 1
    logger.log_metrics({"train_loss": 9.0}, step=2)
    assert logger.version == ""
    ranks.rank = 0
    (tmp_path / "best.ckpt").write_text("weights")
    logger.after_save_checkpoint(SimpleNamespace(best_model_path=str(tmp_path / "best.ckpt"), last_model_path=""))
    logger.finalize("success")
    assert (logger.name, logger.version, logger.experiment.id) == ("nets", logger.run.id, logger.run.id)
    assert params(spool) == {"lr": "0.1", "net.depth": "3", "width": "8"}
    assert points(spool) == [("epoch", 1, 0.0), ("train_loss", 1, 0.5)]
    assert [path.read_text() for path in spool.rglob("checkpoints/best.ckpt")] == ["weights"]
    logger.log_metrics({"test_loss": 0.25}, step=3)  # `Trainer.test`, behind the training
    logger.finalize("failed")
    assert ("test_loss", 3, 0.25) in points(spool)
    assert sorted(ends(spool)) == ["failed", "finished"]


@pytest.mark.parametrize("name", ["lightning", "transformers", "keras"])
def test_a_library_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for each in [*sys.modules]:
        if each.split(".")[0] in (name, "pytorch_lightning", "tensorflow"):
            monkeypatch.delitem(sys.modules, each)
    for each in (name, "pytorch_lightning", "tensorflow"):
        monkeypatch.setitem(sys.modules, each, None)
    monkeypatch.delitem(sys.modules, f"forgelog.integrations.{name}", raising=False)
    with pytest.raises(ModuleNotFoundError, match=f"pip install {name}"):
        import_module(f"forgelog.integrations.{name}")


def test_autolog_without_mlflow_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ModuleNotFoundError, match=r"forgelog.autolog needs MLflow: pip install mlflow"):
        forgelog.autolog()
