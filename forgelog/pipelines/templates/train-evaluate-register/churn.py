"""A small model of who leaves, without a library beyond numpy: logistic regression by gradient descent."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import forgelog

FEATURES = ["orders", "spent", "days_since_last"]
RATE, STEPS = 0.5, 300


def train(rows, experiment):
    """One row: the run whose files are the model."""
    import pyarrow as pa

    values, left = _values(rows, "train")
    mean, spread = values.mean(axis=0), values.std(axis=0) + 1e-9
    scaled = np.hstack([np.ones((len(values), 1)), (values - mean) / spread])
    weights = np.zeros(scaled.shape[1])
    with forgelog.run(experiment) as run, TemporaryDirectory() as folder:
        run.log_params({"rate": RATE, "steps": STEPS, "rows": len(values)})
        for step in range(STEPS):
            guess = 1 / (1 + np.exp(-scaled @ weights))
            weights -= RATE * scaled.T @ (guess - left) / len(left)
            if step % 50 == 0:
                run.log({"train.loss": float(np.mean((guess - left) ** 2))}, step=step)
        file = Path(folder) / "weights.npz"
        np.savez(file, weights=weights, mean=mean, spread=spread)
        run.log_artifact(file, folder="model")
    return pa.table({"run_id": [run.id], "model": [[*weights.tolist(), *mean.tolist(), *spread.tolist()]]})


def evaluate(rows, trained):
    """One row: the run, and the share of unseen rows that its model is right about."""
    import pyarrow as pa

    (found,) = trained.to_pylist()
    weights, mean, spread = np.split(np.array(found["model"]), [len(FEATURES) + 1, 2 * len(FEATURES) + 1])
    values, left = _values(rows, "test")
    accuracy = float(np.mean((weights[0] + ((values - mean) / spread) @ weights[1:] > 0) == left))
    return pa.table({"run_id": [found["run_id"]], "accuracy": [accuracy]})


def register(measured, model, least_accuracy):
    """One row: the version. It is an error if the model is not good enough: nothing is registered then."""
    import pyarrow as pa

    (found,) = measured.to_pylist()
    if found["accuracy"] < least_accuracy:
        raise ValueError(f"the accuracy is {found['accuracy']:.2f}, and {least_accuracy} is asked for")
    with forgelog.Client() as client:
        try:
            client.models.get(model)
        except forgelog.NotFound:
            client.models.register(model, description="who leaves")
        metrics = {"test": {"accuracy": found["accuracy"]}}
        version = client.models.create_version(model, run=found["run_id"], path="model", metrics=metrics)
        client.models.set_alias(model, "champion", version.number)
    return pa.table({"model": [model], "number": [version.number], **{k: [v] for k, v in found.items()}})


def _values(rows, part):
    """The features and who left, of one part of the rows."""
    import pyarrow.compute as pc

    table = rows.filter(pc.equal(rows["part"], part))
    return np.column_stack([np.asarray(table[name], dtype=float) for name in FEATURES]), np.asarray(table["left"], bool)
