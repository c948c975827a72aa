"""A small classifier of handwritten digits, which trains an epoch in about a millisecond.

scikit-learn's digits (UCI, 1,797 images of 8 × 8), two thirds to train and one to validate; one hidden layer, ReLU,
stochastic gradient descent with momentum. It is made of numpy alone, since scikit-learn's own takes ten times as long
for so small steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

EPOCHS = 64

SPACE = ("lr=1e-4..1.0 log", "momentum=0.0..0.99", "decay=1e-7..1e-1 log", "hidden=4..64 log", "batch=16,64,256")

_WORST = 1e3
"""The log loss of a training that has diverged."""


@cache
def _data() -> tuple[Any, Any, Any, Any]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    x, y = (digits.data[order] / 16.0).astype(np.float32), digits.target[order]
    cut = len(y) * 2 // 3
    return x[:cut], y[:cut], x[cut:], y[cut:]


def curve(p: dict[str, Any]) -> Iterator[float]:
    """The log loss on the images for validation after each epoch."""
    x, y, held, answers = _data()
    chance = np.random.default_rng(0)
    sizes = ((x.shape[1], p["hidden"]), (p["hidden"], 10))
    weights = [(chance.standard_normal(size) * np.sqrt(2 / size[0])).astype(np.float32) for size in sizes]
    biases = [np.zeros(size[1], np.float32) for size in sizes]
    layers = [*weights, *biases]
    speeds = [np.zeros_like(each) for each in layers]
    target = np.eye(10, dtype=np.float32)
    with np.errstate(all="ignore"):
        for _ in range(EPOCHS):
            order = chance.permutation(len(y))
            for begin in range(0, len(y), p["batch"]):
                part = order[begin : begin + p["batch"]]
                steps = _gradients(layers, x[part], target[y[part]])
                for layer, speed, step in zip(layers, speeds, steps, strict=True):
                    speed *= p["momentum"]
                    speed -= p["lr"] * (step + p["decay"] * layer)
                    layer += speed
            likely = _probabilities(layers, held)[1][np.arange(len(answers)), answers]
            loss = float(-np.log(np.maximum(likely, 1e-12)).mean())
            yield loss if np.isfinite(loss) else _WORST


def _probabilities(layers: list[Any], x: Any) -> tuple[Any, Any]:
    """The hidden layer's output, and the probability of each digit."""
    first, second, at, then = layers
    hidden = np.maximum(x @ first + at, 0)
    raw = hidden @ second + then
    raw -= raw.max(axis=1, keepdims=True)
    raw = np.exp(raw)
    return hidden, raw / raw.sum(axis=1, keepdims=True)


def _gradients(layers: list[Any], x: Any, target: Any) -> tuple[Any, Any, Any, Any]:
    hidden, found = _probabilities(layers, x)
    error = (found - target) / len(x)
    back = (error @ layers[1].T) * (hidden > 0)
    return x.T @ back, hidden.T @ error, back.sum(axis=0), error.sum(axis=0)
