"""Makes `data.npz` of `data.csv`: splits it and scales its features. Without a `data.csv` it makes up ten clusters, so
that everything runs at once.

`data.csv` has a header; its last column is the class (a whole number from 0), the others are numbers.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from settings import FOLDER, value

SOURCE, TARGET = FOLDER / "data.csv", FOLDER / "data.npz"
NAME = SOURCE.name if SOURCE.exists() else "made up"


class Data(NamedTuple):
    """Features have the shape (samples, features), classes (samples,)."""

    train_x: np.ndarray
    train_y: np.ndarray
    validation_x: np.ndarray
    validation_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray

    @property
    def classes(self) -> int:
        return int(max(each.max(initial=0) for each in (self.train_y, self.validation_y, self.test_y))) + 1

    @property
    def digest(self) -> str:
        """What tells this data from other data."""
        digest = hashlib.sha256()
        for part in self:
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()[:16]


def made_up(samples: int = 1200, features: int = 8, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Clusters around random centers, always the same."""
    rng = np.random.default_rng(0)
    centers = rng.normal(0, 2.5, (classes, features))
    y = rng.integers(0, classes, samples)
    return centers[y] + rng.normal(0, 1, (samples, features)), y


def prepare() -> Data:
    if SOURCE.exists():
        table = np.loadtxt(SOURCE, delimiter=",", skiprows=1, ndmin=2)
        x, y = table[:, :-1], table[:, -1].astype(int)
    else:
        x, y = made_up()
    order = np.random.default_rng(value("seed", 0)).permutation(len(y))
    first = round(value("data.train_split", 0.8) * len(y))
    second = first + round(value("data.validation_split", 0.1) * len(y))
    parts = np.split(order, [first, second])
    mean, deviation = x[parts[0]].mean(axis=0), x[parts[0]].std(axis=0) + 1e-9
    x = (x - mean) / deviation
    data = Data(*(each for part in parts for each in (x[part], y[part])))
    np.savez(TARGET, **data._asdict())
    return data


def load() -> Data:
    """The data, made now if it is not there."""
    if not TARGET.exists():
        return prepare()
    with np.load(TARGET, allow_pickle=False) as found:
        return Data(**{name: found[name] for name in Data._fields})


if __name__ == "__main__":
    made = prepare()
    counts = len(made.train_y), len(made.validation_y), len(made.test_y)
    print("samples to train, to validate and to test: {}, {}, {}".format(*counts))
