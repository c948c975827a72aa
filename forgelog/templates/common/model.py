"""A classifier with one hidden layer, in numpy. Replace it by your own: the scripts use only what is public here."""

from __future__ import annotations

from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]

HIDDEN = ("w1", "b1")
"""The parameters of the hidden layer; the others are the output's."""


class Model:
    """Parameters are float64 arrays by name; inputs have the shape (samples, features)."""

    def __init__(self, parameters: Arrays) -> None:
        self.parameters = parameters

    @classmethod
    def new(cls, features: int, hidden: int, classes: int, rng: np.random.Generator) -> Model:
        return cls(
            {
                "w1": rng.normal(0, np.sqrt(2 / features), (features, hidden)),
                "b1": np.zeros(hidden),
                "w2": rng.normal(0, np.sqrt(2 / hidden), (hidden, classes)),
                "b2": np.zeros(classes),
            }
        )

    @classmethod
    def load(cls, path: Path) -> Model:
        with np.load(path, allow_pickle=False) as found:
            return cls({name: found[name] for name in found.files})

    def save(self, path: Path) -> None:
        np.savez(path, **self.parameters)

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """Shape (samples, classes)."""
        return self._forward(x)[1]

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The class of each sample."""
        return self.probabilities(x).argmax(axis=1)

    def accuracy(self, x: np.ndarray, y: np.ndarray) -> float:
        return float((self.predict(x) == y).mean())

    def gradients(self, x: np.ndarray, y: np.ndarray) -> tuple[float, Arrays]:
        """The mean cross-entropy of a batch, and its gradient by each parameter."""
        hidden, found = self._forward(x)
        rows = np.arange(len(y))
        loss = float(-np.log(np.maximum(found[rows, y], 1e-12)).mean())
        out = found.copy()
        out[rows, y] -= 1
        out /= len(y)
        back = (out @ self.parameters["w2"].T) * (hidden > 0)
        return loss, {"w1": x.T @ back, "b1": back.sum(axis=0), "w2": hidden.T @ out, "b2": out.sum(axis=0)}

    def apply(self, gradients: Arrays, rate: float, decay: float = 0.0, clip: float = 0.0) -> None:
        """A step of gradient descent. `clip`: the largest norm of the whole gradient; 0 for any."""
        norm = np.sqrt(sum(float((each**2).sum()) for each in gradients.values()))
        shrink = min(1.0, clip / norm) if clip and norm else 1.0
        for name, gradient in gradients.items():
            self.parameters[name] -= rate * (shrink * gradient + decay * self.parameters[name])

    def _forward(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hidden = np.maximum(x @ self.parameters["w1"] + self.parameters["b1"], 0)
        out = hidden @ self.parameters["w2"] + self.parameters["b2"]
        out = np.exp(out - out.max(axis=1, keepdims=True))
        return hidden, out / out.sum(axis=1, keepdims=True)


def rate_at(epoch: int, epochs: int, rate: float, warmup: float, schedule: str) -> float:
    """The learning rate of an epoch: it rises for `warmup` epochs, then stays, or falls by ``cosine``."""
    if epoch < warmup:
        return rate * (epoch + 1) / (warmup + 1)
    if schedule != "cosine":
        return rate
    return float(rate * (1 + np.cos(np.pi * (epoch - warmup) / max(epochs - warmup, 1))) / 2)
