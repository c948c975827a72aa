"""Has the platform search: it starts a job for each trial, as `job.yaml` says, and reads what the trial logs.

    python3 sweep.py [TRIALS]

It prints the best trial. `forgelog tune list` shows the search while it runs, and Ctrl-C leaves it running.
"""

from __future__ import annotations

import sys
import time

from settings import EXPERIMENT, FOLDER, value

import forgelog

SPACE = [
    {"name": "basic.learning_rate", "kind": "float", "low": 0.003, "high": 1.0, "log": True},
    {"name": "architecture.hidden_layers", "kind": "int", "low": 4, "high": 64},
    {"name": "basic.batch_size", "kind": "categorical", "choices": ["32", "64", "128"]},
]
"""What is searched, by the names that hyperparameters have in `settings.params()`."""


def main() -> None:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else value("trials", 12)
    with forgelog.Client() as client:
        tuning = client.tunings.create(
            f"{EXPERIMENT} {time.strftime('%Y-%m-%d %H:%M:%S')}",
            ["maximize"],
            plan={"algorithm": "tpe", "seed": value("seed", 0), "space": SPACE},
            limits={"trials": trials, "parallel": value("parallel", 2)},
            objectives=[{"metric": "validation/accuracy"}],
            job=FOLDER / "job.yaml",
        )
        print(f"tuning {tuning}", flush=True)
        for row in client.tunings.watch([tuning]):
            if row.status not in ("running", "paused"):
                break
        if row.best_trial is None:
            sys.exit(f"the search is {row.status}, and no trial was completed; forgelog tune trials {tuning} says why")
        best = client.tunings.trial(tuning, row.best_trial)
        print(f"{row.completed} trials completed; the best is {best.number}: {row.best_value}, {best.params}")


if __name__ == "__main__":
    main()
