"""Trains with several processes. Each has a copy of the model and a share of every batch; their gradients are averaged
by way of shared memory, so that all copies stay equal. The first process logs.

    python3 train.py              or, on a node:  forgelog submit job.yaml

With PyTorch on GPUs, `average` is what `DistributedDataParallel` does: wrap the model, take `torch.distributed`'s rank
for `rank`, and let rank 0 alone call `forgelog.run`.
"""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.sharedctypes import SynchronizedArray
from typing import Any

import numpy as np
import prepare
from model import Arrays, Model
from settings import EXPERIMENT, FOLDER, params, value

import forgelog


def average(gradients: Arrays, rank: int, shared: np.ndarray, barrier: Any) -> Arrays:
    """The mean of the gradients of all processes. `shared`: shape (processes, parameters)."""
    shared[rank] = np.concatenate([each.ravel() for each in gradients.values()])
    barrier.wait()
    mean = shared.mean(axis=0)
    barrier.wait()  # nobody writes the next one before all have read
    ends = np.cumsum([each.size for each in gradients.values()])[:-1]
    parts = np.split(mean, ends)
    return {name: part.reshape(gradients[name].shape) for name, part in zip(gradients, parts, strict=True)}


def work(rank: int, workers: int, memory: SynchronizedArray[float], barrier: Any, run: forgelog.Run | None) -> None:
    try:
        train(rank, workers, memory, barrier, run)
    except BaseException:
        barrier.abort()  # the others end, too
        raise


def train(rank: int, workers: int, memory: SynchronizedArray[float], barrier: Any, run: forgelog.Run | None) -> None:
    data = prepare.load()
    rng = np.random.default_rng(value("seed", 0))  # the same in all, so that copies and batches are
    model = Model.new(data.train_x.shape[1], value("hidden", 32), data.classes, rng)
    shared = np.frombuffer(memory.get_obj()).reshape(workers, -1)
    batch = value("basic.batch_size", 128) // workers * workers
    for epoch in range(int(value("basic.epochs", 10.0))):
        began, losses = time.perf_counter(), []
        order = rng.permutation(len(data.train_y))
        order = order[: len(order) // batch * batch]
        for part in order.reshape(-1, batch):
            mine = part[rank::workers]
            loss, gradients = model.gradients(data.train_x[mine], data.train_y[mine])
            model.apply(average(gradients, rank, shared, barrier), value("basic.learning_rate", 0.2))
            losses.append(loss)
        if run is not None:
            run.log(
                {
                    "train/loss": np.mean(losses),
                    "validation/accuracy": model.accuracy(data.validation_x, data.validation_y),
                    "samples_per_second": len(order) / (time.perf_counter() - began),
                },
                step=epoch + 1,
            )
    if run is not None:
        model.save(FOLDER / "model.npz")
        run.log_artifact(FOLDER / "model.npz", folder="model")


def main() -> None:
    workers = value("workers", 2)
    data = prepare.load()
    size = Model.new(data.train_x.shape[1], value("hidden", 32), data.classes, np.random.default_rng(0)).parameters
    context = multiprocessing.get_context("spawn")
    memory = context.Array("d", workers * sum(each.size for each in size.values()))
    barrier = context.Barrier(workers, timeout=300)
    others = [context.Process(target=work, args=(rank, workers, memory, barrier, None)) for rank in range(1, workers)]
    with forgelog.run(EXPERIMENT, name=f"{workers} processes", params=params()) as run:
        run.log_input(prepare.NAME, data.digest, role="training")
        for each in others:
            each.start()
        try:
            work(0, workers, memory, barrier, run)
        finally:
            for each in others:
                each.join()
        if failed := [each.exitcode for each in others if each.exitcode]:
            raise RuntimeError(f"{len(failed)} processes failed")
    print(f"run {run.id}: trained by {workers} processes")


if __name__ == "__main__":
    main()
