"""Whether a tuning's proposals follow from its history: ``python -m services.experiments.engine.verify TUNING``.

Each is chosen anew, from the events that were known then; it must be the same. Each trial that was given up is judged
anew, too. Exit code 1 if one is not as it was.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import NamedTuple

from aiokafka.errors import KafkaError

from events.language.experiments import TrialProposed, TuningCreated, TuningEvent
from events.language.experiments.tuning_following import TrialPruned
from events.log.tail import NoTopic, Tail
from events.process.settings import Settings, SettingsError
from services.experiments.engine.judging import promises
from services.experiments.engine.known import Searches
from services.experiments.engine.sampling import VERSION, propose

CONTEXT = "experiments"


class Verified(NamedTuple):
    """What was found."""

    proposals: int
    different: tuple[str, ...]
    """One line for each that is."""
    prunings: int = 0
    """Trials that were given up."""
    unfounded: tuple[str, ...] = ()
    """One line for each that would go on."""


async def history(settings: Settings, tuning_id: str) -> list[TuningEvent]:
    """A tuning's own events, in order."""
    found: list[TuningEvent] = []
    subject = tuning_id.encode()
    async with Tail(settings, (CONTEXT,)) as tail:
        ends = await tail.ends()
        while any(tail.positions[place].offset < end for place, end in ends.items()):
            for raw in await tail.poll_raw(1.0):
                if raw.get("ce_subject") == subject and not raw.is_marker:
                    event = raw.decode().data
                    if isinstance(event, TuningEvent):
                        found.append(event)
    return found


def verify(events: Sequence[TuningEvent], seed: int | None = None) -> Verified:
    """Choose each proposal anew. `seed`: another one than the plan's. Raises LookupError where there is no plan."""
    first = events[0] if events else None
    if not isinstance(first, TuningCreated):
        raise LookupError("there is no such tuning in the log")
    if first.plan is None:
        raise LookupError("its clients choose the values: there are no proposals to verify")
    plan = first.plan if seed is None else first.plan.model_copy(update={"seed": seed})
    searches, folded = Searches(), 0
    proposals, different, prunings, unfounded = 0, [], 0, []
    chosen = [event for event in events if isinstance(event, TrialProposed | TrialPruned)]
    for event in sorted(chosen, key=lambda each: each.known_events):
        while folded < event.known_events:
            searches.fold(events[folded])
            folded += 1
        search = searches.by_id[first.tuning_id]
        if isinstance(event, TrialPruned):
            prunings += 1
            if plan.pruning is None or promises(plan.pruning, search, event.number):
                unfounded.append(f"trial {event.number}: was given up at step {event.step}, and promises well")
            continue
        found = propose(plan, first.directions, search.told(), search.under_way(), event.number, search.adopted)
        proposals += 1
        if found.parameters != event.parameters:
            by = "" if event.algorithm_version == VERSION else f" (by {event.algorithm_version}; this is {VERSION})"
            different.append(f"trial {event.number}: {_shown(event.parameters)} became {_shown(found.parameters)}{by}")
    return Verified(proposals, tuple(different), prunings, tuple(unfounded))


def _shown(parameters: Sequence[object]) -> str:
    return " ".join(f"{each.name}={each.value}" for each in parameters)  # type: ignore[attr-defined]


def main() -> int:
    parser = argparse.ArgumentParser(prog="forgelog tune verify")
    parser.add_argument("tuning")
    parser.add_argument("--seed", type=int)
    given = parser.parse_args()
    try:
        found = verify(asyncio.run(history(Settings.load(), given.tuning)), given.seed)
    except (SettingsError, LookupError, NoTopic, KafkaError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for line in (*found.different, *found.unfounded):
        print(line)
    print(f"{found.proposals - len(found.different)} of {found.proposals} proposals are equal")
    if found.prunings:
        print(f"{found.prunings - len(found.unfounded)} of {found.prunings} prunings are founded")
    return 1 if found.different or found.unfounded else 0


if __name__ == "__main__":
    sys.exit(main())
