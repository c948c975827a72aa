"""Trains the classifier and logs how it goes. The model with the best accuracy on the validation split is kept.

python3 train.py              or, on a node:  forgelog submit job.yaml
"""

from __future__ import annotations

import numpy as np
import prepare
from model import Model, rate_at
from settings import EXPERIMENT, FOLDER, params, value

import forgelog

MODEL = FOLDER / "model.npz"


def main() -> None:
    data = prepare.load()
    rng = np.random.default_rng(value("seed", 0))
    hidden = int(value("architecture.hidden_layers", "32").split(",")[0])
    model = Model.new(data.train_x.shape[1], hidden, data.classes, rng)
    epochs, batch = int(value("basic.epochs", 20.0)), value("basic.batch_size", 64)
    best = -1.0
    with forgelog.run(EXPERIMENT, name="train", params=params()) as run:
        run.log_input(prepare.NAME, data.digest, role="training")
        for epoch in range(epochs):
            rate = rate_at(
                epoch,
                epochs,
                value("basic.learning_rate", 0.2),
                value("training.warmup_epochs", 0.0),
                value("training.learning_rate_schedule", ""),
            )
            losses = []
            for part in np.array_split(rng.permutation(len(data.train_y)), max(len(data.train_y) // batch, 1)):
                loss, gradients = model.gradients(data.train_x[part], data.train_y[part])
                decay, clip = value("training.weight_decay", 0.0), value("training.gradient_clipping", 0.0)
                model.apply(gradients, rate, decay, clip)
                losses.append(loss)
            accuracy = model.accuracy(data.validation_x, data.validation_y)
            run.log(
                {"train/loss": np.mean(losses), "validation/accuracy": accuracy, "learning_rate": rate}, step=epoch + 1
            )
            if accuracy > best:
                best = accuracy
                model.save(MODEL)
        run.log_artifact(MODEL, folder="model")
    print(f"run {run.id}: accuracy on the validation split {best:.3f}")


if __name__ == "__main__":
    main()
