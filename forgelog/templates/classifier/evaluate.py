"""Measures a trained model on the test split, which training never sees, and logs it as a run of its own.

python3 evaluate.py [model.npz]
"""

from __future__ import annotations

import sys
from pathlib import Path

import prepare
from model import Model
from settings import EXPERIMENT, FOLDER

import forgelog


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER / "model.npz"
    if not path.exists():
        sys.exit(f"there is no model {path}; train one first: python3 train.py")
    data = prepare.load()
    found = Model.load(path).predict(data.test_x)
    scores = {"test/accuracy": float((found == data.test_y).mean())}
    for each in sorted(set(data.test_y.tolist())):
        scores[f"test/recall/{each}"] = float((found[data.test_y == each] == each).mean())
    with forgelog.run(EXPERIMENT, name="evaluate", tags={"model": path.name}) as run:
        run.log_input(prepare.NAME, data.digest, role="test")
        run.log(scores)
    for name, score in scores.items():
        print(f"{name:<20}{score:.3f}")


if __name__ == "__main__":
    main()
