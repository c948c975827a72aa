"""One configuration of the demo's model search: trains a classifier on scikit-learn's handwritten digits.

Run by every task of the demo's array job; ``FORGELOG_TASK`` chooses the configuration. Knows nothing of Forgelog
but that variable and ``FORGELOG_ATTEMPT``. The last line it prints is a JSON object with the accuracy on the third of
the images that was held out.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

CONFIGURATIONS: list[tuple[str, dict[str, Any]]] = [
    ("svm", {"C": 1.0, "gamma": 0.0001}),
    ("svm", {"C": 10.0, "gamma": 0.001}),
    ("knn", {"n_neighbors": 3}),
    ("forest", {"n_estimators": 100, "max_depth": 6}),
    ("logistic", {"C": 0.1}),
    ("mlp", {"hidden_layer_sizes": (32,), "max_iter": 60}),
]

FAILING_TASK = 3
"""This one fails at its first attempt, as if the machine had hiccuped, to show a retry."""


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

    return MLPClassifier(random_state=seed, **parameters)


def main() -> int:
    task = int(os.environ.get("FORGELOG_TASK", "0"))
    attempt = int(os.environ.get("FORGELOG_ATTEMPT", "1"))
    seed = int(os.environ.get("SEED", "7"))
    kind, parameters = CONFIGURATIONS[task % len(CONFIGURATIONS)]
    print(f"task {task}, attempt {attempt}: {kind} {parameters}", flush=True)
    if task == FAILING_TASK and attempt == 1:
        print("the data could not be read (made up, to show a retry)", file=sys.stderr, flush=True)
        return 3

    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        images / 16.0 if kind in ("logistic", "mlp") else images, labels, test_size=1 / 3, random_state=seed
    )
    print(f"{len(train_y)} images to learn from, {len(test_y)} held out", flush=True)
    began = time.perf_counter()
    model = build(kind, parameters, seed).fit(train_x, train_y)
    seconds = time.perf_counter() - began
    accuracy = float(model.score(test_x, test_y))
    print(
        json.dumps(
            {
                "task": task,
                "model": kind,
                "parameters": parameters,
                "accuracy": round(accuracy, 4),
                "seconds": round(seconds, 3),
            }
        ),
        flush=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
