"""Measures versions of a registered model on the same test split: a run for each, in one that compares them.

    python3 evaluate.py [--alias champion] [NAME/1 NAME@challenger ...]

Left out: all verified versions of `model` of experiment.json. With --alias the best one gets that alias. For models
that have no `model.npz` change `predict`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import prepare
from model import Model
from settings import EXPERIMENT, FOLDER, params, value

import forgelog


def predict(folder: Path, x: np.ndarray) -> np.ndarray:
    """What the model of a version's folder says of each sample: the probability of each class."""
    return Model.load(folder / "model.npz").probabilities(x)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare versions of a registered model.")
    parser.add_argument("versions", nargs="*", help="NAME/2, NAME@alias; left out: all of the model.")
    parser.add_argument("--alias", default="", help="The best one gets this alias.")
    said = parser.parse_args()
    data, name = prepare.load(), value("model", "")
    with forgelog.Client() as client:
        try:
            found = [client.models.version(each) for each in said.versions] or [
                row for row in client.models.versions(name) if row.status == "verified"
            ]
        except forgelog.NotFound as error:
            sys.exit(str(error))
        if not found:
            sys.exit(f"model {name} has no verified version; publish one first: forgelog models publish {name} DIR")
        scores: dict[str, dict[str, float]] = {}
        with forgelog.run(EXPERIMENT, name="comparison", params=params()) as comparison:
            for version in found:
                ref = f"{version.name}/{version.number}"
                folder = FOLDER / "versions" / str(version.version_id)
                client.models.download(ref, into=folder, force=True)
                likely = predict(folder, data.test_x)
                right = likely[np.arange(len(data.test_y)), data.test_y]
                accuracy = float((likely.argmax(axis=1) == data.test_y).mean())
                loss = float(-np.log(np.maximum(right, 1e-12)).mean())
                scores[ref] = {"test/accuracy": accuracy, "test/loss": loss}
                with forgelog.run(EXPERIMENT, name=ref, tags={"version": ref}, parent=comparison) as run:
                    run.log_input(prepare.NAME, data.digest, role="test")
                    run.log(scores[ref])
            best = max(scores, key=lambda ref: scores[ref]["test/accuracy"])
            comparison.log(scores[best])
            comparison.set_tags(best=best)
        print(f"run {comparison.id}: {len(scores)} versions")
        for ref, score in scores.items():
            print(f"{ref:<24}accuracy {score['test/accuracy']:.3f}{'  best' if ref == best else ''}")
        if said.alias:
            model, _, number = best.rpartition("/")
            client.models.set_alias(model, said.alias, int(number))


if __name__ == "__main__":
    main()
