"""One trial: trains with the values that the search chose, which `settings` finds, and logs its curve. By itself it
trains with those of `experiment.json`."""

from __future__ import annotations

import numpy as np
import prepare
from model import Model
from settings import EXPERIMENT, params, value

import forgelog


def main() -> None:
    data = prepare.load()
    rng = np.random.default_rng(value("seed", 0))
    hidden = int(value("architecture.hidden_layers", "16").split(",")[0])
    model = Model.new(data.train_x.shape[1], hidden, data.classes, rng)
    batches = max(len(data.train_y) // value("basic.batch_size", 64), 1)
    with forgelog.run(EXPERIMENT, params=params()) as run:
        for epoch in range(int(value("basic.epochs", 8.0))):
            losses = []
            for part in np.array_split(rng.permutation(len(data.train_y)), batches):
                loss, gradients = model.gradients(data.train_x[part], data.train_y[part])
                model.apply(gradients, value("basic.learning_rate", 0.2))
                losses.append(loss)
            accuracy = model.accuracy(data.validation_x, data.validation_y)
            run.log({"train/loss": np.mean(losses), "validation/accuracy": accuracy}, step=epoch + 1)


if __name__ == "__main__":
    main()
