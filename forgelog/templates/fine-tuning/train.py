"""Fine-tunes a version of a registered model, and publishes what comes of it as the model's next version.

    python3 train.py [NAME@ALIAS | NAME/NUMBER | NAME]       left out: `base` of experiment.json

First only the output layer learns (`frozen_epochs`), then all of it. The base has a `model.npz`, as the template
`classifier` makes it; for another kind of model change `model.py`.
"""

from __future__ import annotations

import sys

import numpy as np
import prepare
from model import HIDDEN, Model
from settings import EXPERIMENT, FOLDER, params, value

import forgelog


def main() -> None:
    base = sys.argv[1] if len(sys.argv) > 1 else value("base", "")
    data = prepare.load()
    with forgelog.Client() as client:
        try:
            version = client.models.version(base)
        except forgelog.NotFound as error:
            sys.exit(f"{error}; name a version of a model: python3 train.py digits@champion")
        client.models.download(base, into=FOLDER / "base", force=True)
        model = Model.load(FOLDER / "base/model.npz")
        with forgelog.run(EXPERIMENT, name="fine-tune", params=params(), tags={"base": version.version_id}) as run:
            run.log_input(prepare.NAME, data.digest, role="training")
            run.log({"base/accuracy": model.accuracy(data.validation_x, data.validation_y)}, step=0)
            train(model, data, run)
            model.save(FOLDER / "model.npz")
            run.log_artifact(FOLDER / "model.npz", folder="model")
        accuracy = model.accuracy(data.validation_x, data.validation_y)
        made = client.models.create_version(
            version.name,
            run=run.id,
            path="model",
            framework="custom",
            parents=[{"version_id": version.version_id, "derivation": "fine_tuned"}],
            metrics={"validation": {"accuracy": accuracy}},
        )
        print(f"{made.name}/{made.number} was made of {version.name}/{version.number}: accuracy {accuracy:.3f}")


def train(model: Model, data: prepare.Data, run: forgelog.Run) -> None:
    rng = np.random.default_rng(value("seed", 0))
    batches = max(len(data.train_y) // value("basic.batch_size", 32), 1)
    for epoch in range(int(value("basic.epochs", 10.0))):
        frozen = HIDDEN if epoch < value("frozen_epochs", 4) else ()
        losses = []
        for part in np.array_split(rng.permutation(len(data.train_y)), batches):
            loss, gradients = model.gradients(data.train_x[part], data.train_y[part])
            learning = {name: each for name, each in gradients.items() if name not in frozen}
            model.apply(learning, value("basic.learning_rate", 0.05))
            losses.append(loss)
        accuracy = model.accuracy(data.validation_x, data.validation_y)
        run.log({"train/loss": np.mean(losses), "validation/accuracy": accuracy}, step=epoch + 1)


if __name__ == "__main__":
    main()
