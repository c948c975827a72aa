"""``make explore``: property tests and state machines with new random examples, for as long as one likes.

    python -m tests.explore [--minutes N] [--only WORD] [--seed N]

`make test` tries the same examples on every machine; this one tries others, round after round, each with a seed of its
own. At the first failure it stops, shows the example, and exits with 1. What it finds is to become an example of the
test (`@example`, or a test that takes the machine's printed steps), so that `make test` holds it from then on.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time


def explore(minutes: float, only: str, seed: int) -> int:
    """Rounds of all property tests until the time is over; the exit code of the last."""
    seeds = random.Random(seed)
    until = time.monotonic() + minutes * 60
    number = 0
    while time.monotonic() < until:
        number += 1
        this = seeds.randrange(1 << 32)
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "hypothesis", f"--hypothesis-seed={this}", "tests"]
        command += ["-k", only] if only else []
        done = subprocess.run(
            command,
            env={**os.environ, "FORGELOG_HYPOTHESIS": "explore"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        last = done.stdout.strip().rsplit("\n", 1)[-1]
        left = max(0.0, until - time.monotonic()) / 60
        print(f"round {number}, seed {this}: {last}; {left:.1f} minutes left", flush=True)
        if done.returncode:
            print(done.stdout)
            return done.returncode
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.explore", description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="a round that has begun is ended (default: 10)")
    parser.add_argument("--only", default="", metavar="WORD", help="tests whose names have this word, as pytest's -k")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of the rounds' seeds")
    asked = parser.parse_args()
    print(f"--seed {asked.seed}", flush=True)
    sys.exit(explore(asked.minutes, asked.only, asked.seed))


if __name__ == "__main__":
    main()
