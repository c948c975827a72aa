"""The best classes of an output, as Triton's classification extension tells them: ``score:index:label``. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from events.language.common import shown
from forgelog.serve.problems import invalid
from forgelog.serve.tensors import Array


def classified(name: str, array: Array, count: int, labels: Sequence[str], by_row: bool) -> Array:
    """The `count` highest scores, of each row or of all, as texts. `labels`: of the indexes, as far as there are some.
    Raises `ServingError` for what has no scores."""
    if array.dtype.kind not in "iuf":
        raise invalid(f"output {shown(name)}: has no scores, so no classes can be told; leave out classification")
    rows = array.reshape(array.shape[0], -1) if by_row or array.ndim > 1 else array.reshape(1, -1)
    best = np.argsort(-rows.astype(np.float64), axis=1, kind="stable")[:, :count]
    texts = np.empty(best.shape, dtype=object)
    for row, indexes in enumerate(best):
        for place, index in enumerate(indexes.tolist()):
            label = f":{labels[index]}" if index < len(labels) else ""
            texts[row, place] = f"{rows[row, index]:f}:{index}{label}".encode()
    return texts if by_row or array.ndim > 1 else texts.reshape(-1)
