"""``make chaos``: attack a whole platform, round after round, and check after each that nothing was lost or done twice.

    python -m tests.chaos [--seed N ...] [--rounds N] [--minutes M] [--only WORD] [--parallel]
                          [--output table|json|markdown]

A seed decides every attack and every user's step (how processes interleave it can't). When something does not hold, the
platform's folder stays, and the round is named.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import subprocess
import sys

import orjson
from rich.console import Console
from rich.table import Table

from tests.chaos.arena import can_mount, clock_library
from tests.chaos.rounds import Round, play


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, action="append", help="may be given several times; default 1")
    parser.add_argument("--rounds", type=int, default=20, help="rounds of each seed")
    parser.add_argument("--minutes", type=float, default=0, help="at most so long for each seed; 0: no limit")
    parser.add_argument("--only", default="", help="only attacks whose name has this in it")
    parser.add_argument("--parallel", action="store_true", help="all seeds side by side, each on a platform of its own")
    parser.add_argument("--output", choices=("table", "json", "markdown"), default="table")
    asked = parser.parse_args()
    if asked.rounds < 1:
        parser.error("--rounds: at least 1")
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 160)
    if not can_mount():
        console.print("no full disks: mounting a small file system needs root on Linux")
    if clock_library() is None:
        console.print("no jumping clocks: libfaketime is not installed (`pip install libfaketime`, needs a C compiler)")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # that the broker can't be reached is no news here
    rounds: list[Round] = []
    seeds = asked.seed or [1]
    if asked.parallel and len(seeds) > 1:
        options = ["--rounds", str(asked.rounds), "--minutes", str(asked.minutes), "--only", asked.only]
        rounds = side_by_side(seeds, options)
    else:
        for seed in seeds:
            rounds += asyncio.run(play(seed, asked.rounds, minutes=asked.minutes, only=asked.only, say=console.print))
    if asked.output == "json":
        sys.stdout.write(orjson.dumps([each.data() for each in rounds], option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        report(rounds, markdown=asked.output == "markdown")
    if any(each.problems for each in rounds):
        sys.exit(1)


def side_by_side(seeds: list[int], options: list[str]) -> list[Round]:
    """Each seed in a process of its own, since a platform's environment is its process's.

    Where it can be had in a network of its own too: while a broker is down, another platform may take its port.
    """
    command = [*_own_network(), sys.executable, "-m", "tests.chaos", "--output", "json", *options]
    running = [subprocess.Popen([*command, "--seed", str(seed)], stdout=subprocess.PIPE) for seed in seeds]
    return [Round(**data) for each in running for data in orjson.loads(each.communicate()[0] or b"[]")]


def _own_network() -> list[str]:
    """What to begin a command with so that nobody else has its ports (Linux, root); nothing where that can't be had."""
    inside = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    try:
        return inside if subprocess.run([*inside, "true"], capture_output=True).returncode == 0 else []
    except OSError:
        return []


def report(rounds: list[Round], *, markdown: bool) -> None:
    """By kind of attack: rounds, how many clean, how long it took to be whole again."""
    kinds: dict[str, list[Round]] = {}
    for each in rounds:
        kinds.setdefault(each.kind, []).append(each)
    head = ("attack", "rounds", "clean", "jobs", "recovery s, median", "most")
    lines = []
    for kind, own in sorted(kinds.items()):
        took = sorted(each.recovery for each in own)
        clean = sum(not each.problems for each in own)
        jobs = sum(each.jobs for each in own)
        row = (kind, len(own), clean, jobs, f"{took[len(took) // 2]:.1f}", f"{took[-1]:.1f}")
        lines.append([str(value) for value in row])
    lines.append(
        ["all", str(len(rounds)), str(sum(not r.problems for r in rounds)), str(sum(r.jobs for r in rounds)), "", ""]
    )
    if markdown:
        out = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
        sys.stdout.write("\n".join([*out, *("| " + " | ".join(line) + " |" for line in lines)]) + "\n")
        return
    table = Table(*head)
    for line in lines:
        table.add_row(*line)
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    for each in rounds:
        for problem in each.problems:
            print(f"seed {each.seed}, round {each.number} ({each.what}): {problem}")


if __name__ == "__main__":
    main()
