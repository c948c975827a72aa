"""One training of the demo: a classifier of scikit-learn's handwritten digits, tracked as a run.

A task of the demo's array job finds its configuration by ``FORGELOG_TASK``, a trial of its search its hyperparameters
in ``FORGELOG_PARAMS``, and both find the images by ``DIGITS_LOCATION``. The last line that is printed is a JSON object
with the accuracy on the third of the images that was held out.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import forgelog

EXPERIMENT = "digits"

CONFIGURATIONS: list[tuple[str, dict[str, Any]]] = [
    ("svm", {"C": 1.0, "gamma": 0.0001}),
    ("svm", {"C": 10.0, "gamma": 0.001}),
    ("knn", {"n_neighbors": 3}),
    ("forest", {"n_estimators": 100, "max_depth": 6}),
    ("logistic", {"C": 0.1}),
    ("mlp", {"units": 8, "rate": 0.001, "alpha": 0.0001}),
]

FAILING_TASK = 3
"""This one fails at its first attempt, as if the machine had hiccuped, to show a retry."""

SPACE: list[dict[str, Any]] = [
    {"name": "units", "kind": "int", "low": 8, "high": 96},
    {"name": "rate", "kind": "float", "low": 1e-4, "high": 3e-2, "log": True},
    {"name": "alpha", "kind": "float", "low": 1e-6, "high": 1e-2, "log": True},
]
"""What the search tries: a network's hidden units, its learning rate, and its weight decay."""

EPOCHS = 25

SEED = 7
"""Of the split, and of what is random in a model."""


def build(kind: str, parameters: dict[str, Any], seed: int) -> Any:
    """The untrained model of a configuration."""
    # Imported one by one: each task pays only for what it uses.
    if kind == "svm":
        from sklearn.svm import SVC

        return SVC(**parameters)
    if kind == "knn":
        from sklearn.neighbors import KNeighborsClassifier

        return KNeighborsClassifier(**parameters)
    if kind == "forest":
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(random_state=seed, **parameters)
    if kind == "logistic":
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(max_iter=300, **parameters)
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(
        hidden_layer_sizes=(parameters["units"],),
        learning_rate_init=parameters["rate"],
        alpha=parameters["alpha"],
        random_state=seed,
    )


def _images() -> tuple[Any, Any]:
    """All images and their labels: of the dataset that the demo's pipeline made, or as scikit-learn brings them."""
    if not (location := os.environ.get("DIGITS_LOCATION")):
        from sklearn.datasets import load_digits

        return load_digits(return_X_y=True)  # type: ignore[no-any-return]
    import numpy as np
    import pyarrow.parquet as pq

    table = pq.read_table(location.removeprefix("file://")).sort_by("id")
    return np.array(table["pixels"].to_pylist()), table["label"].to_numpy()


def split(seed: int, *, scaled: bool) -> tuple[Any, Any, Any, Any]:
    """Images and labels to learn from, and those that are held out. `scaled`: pixels go from 0 to 1, not to 16."""
    from sklearn.model_selection import train_test_split

    images, labels = _images()
    train_x, test_x, train_y, test_y = train_test_split(
        images / 16.0 if scaled else images, labels, test_size=1 / 3, random_state=seed
    )
    return train_x, train_y, test_x, test_y


def fit(model: Any, kind: str, learn: tuple[Any, Any], held_out: tuple[Any, Any], run: forgelog.Run) -> float:
    """Train a model, and log how it goes; its accuracy. Networks learn in epochs, and are kept as a file of the run."""
    if kind != "mlp":
        accuracy = float(model.fit(*learn).score(*held_out))
        run.log(accuracy=accuracy)
        return accuracy
    accuracy = 0.0
    for epoch in range(EPOCHS):
        model.partial_fit(*learn, classes=range(10))
        accuracy = float(model.score(*held_out))
        run.log(loss=model.loss_, accuracy=accuracy, step=epoch + 1)
    with TemporaryDirectory() as folder:
        if find_spec("skops") is not None:  # a model server reads it, and runs nothing of what is in it
            from skops import io

            kept = Path(folder, "model.skops")
            io.dump(model, kept)
        else:
            import numpy as np

            kept = Path(folder, "weights.npz")
            np.savez(kept, *model.coefs_, *model.intercepts_)
        run.log_artifact(kept, folder="model")
    return accuracy


def main() -> int:
    task, attempt = int(os.environ.get("FORGELOG_TASK", "0")), int(os.environ.get("FORGELOG_ATTEMPT", "1"))
    seed = int(os.environ.get("SEED", SEED))
    kind, parameters = CONFIGURATIONS[task % len(CONFIGURATIONS)]
    if trial := os.environ.get("FORGELOG_PARAMS"):
        kind, parameters = "mlp", json.loads(trial)
    elif task == FAILING_TASK and attempt == 1:
        print("the data could not be read (made up, to show a retry)", file=sys.stderr, flush=True)
        return 3
    print(f"task {task}, attempt {attempt}: {kind} {parameters}", flush=True)

    train_x, train_y, test_x, test_y = split(seed, scaled=kind in ("logistic", "mlp"))
    print(f"{len(train_y)} images to learn from, {len(test_y)} held out", flush=True)
    began = time.perf_counter()
    with forgelog.run(EXPERIMENT, name=kind, params={"model": kind, "seed": seed, **parameters}) as run:
        name, _, version = os.environ.get("DIGITS", "optdigits/scikit-learn").partition("/")
        run.log_input(name, version, role="training", source=os.environ.get("DIGITS_LOCATION", ""))
        accuracy = fit(build(kind, parameters, seed), kind, (train_x, train_y), (test_x, test_y), run)
    seconds = time.perf_counter() - began
    told = {"task": task, "model": kind, "parameters": parameters, "run": run.id}
    print(json.dumps({**told, "accuracy": round(accuracy, 4), "seconds": round(seconds, 3)}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
