"""What a stage of a debugged run writes into its log: where each input was read, and the queries that are run."""

from __future__ import annotations

from forgelog.pipelines.engine import Plan
from forgelog.worker.inputs import Inputs


def tell_inputs(inputs: Inputs) -> None:
    """One line for each input: its columns; and one for each that is no stage's: what it is."""
    for name, columns in inputs.schemas.items():
        print(f"debug: input {name}: {', '.join(f'{column.name} {column.type}' for column in columns)}")
    for read in inputs.read:
        place = f"version {read.version} of {read.dataset_id}" if read.dataset_id else read.location
        print(f"debug: input {read.name} is {place}")


def tell_plan(plan: Plan) -> None:
    """Each transformation: its query, or the function that it calls."""
    for relation in plan.relations:
        if relation.call is not None:
            print(f"debug: {relation.name} is what {relation.call.module}:{relation.call.function} gives")
        else:
            known = relation.query or relation.spark or "a query that is known once the functions before it have run"
            print(f"debug: {relation.name}: {known}")
