"""How much a run holds beside its points and files. Pure.

A run is answered whole (`GetRun`), in one message of at most 16 MiB. So what it holds is bounded when it is logged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from events.language.experiments.models import RunInput
from services.experiments.refusals import exhausted
from services.experiments.run.state import Run, input_key

MAX_BYTES = 8 << 20
"""Most bytes of the parameters, tags and inputs of a run, in UTF-8. The other half of an answer is for its metrics."""

MAX_TAGS = 10_000
"""Most tags of a run."""


def add_params(state: Run, params: Mapping[str, str]) -> None:
    """It has these from here on."""
    state.params.update(params)
    state.size += _of_texts(params)


def set_tags(state: Run, tags: Mapping[str, str | None]) -> None:
    """They are so from here on; one that is None is gone."""
    for key, value in tags.items():
        state.size -= state.tags.pop(key, 0)
        if value is not None:
            state.tags[key] = size = _of_text(key, value)
            state.size += size


def add_inputs(state: Run, inputs: Iterable[RunInput]) -> None:
    """It reads these from here on."""
    for each in inputs:
        state.inputs.add(input_key(each))
        state.size += _of_input(each)


def check_data(state: Run, params: Mapping[str, str], tags: Mapping[str, str | None]) -> None:
    """`params`: new ones. Raises Refused if the run would hold too much. What makes it smaller is never refused."""
    more = _of_texts(params)
    count = len(state.tags)
    for key, value in tags.items():
        more -= state.tags.get(key, 0)
        count -= key in state.tags
        if value is not None:
            more += _of_text(key, value)
            count += 1
    if count > max(MAX_TAGS, len(state.tags)):
        problem = f"the run would have more than {MAX_TAGS} tags"
        raise exhausted("tags", problem, "take others away first: give them null")
    _check(state, more, "params" if params else "tags", "log what is larger as an artifact")


def check_inputs(state: Run, inputs: Iterable[RunInput]) -> None:
    """`inputs`: new ones. Raises Refused if the run would hold too much."""
    hint = "give the datasets shorter sources, columns and profiles, or log these as artifacts"
    _check(state, sum(map(_of_input, inputs)), "inputs", hint)


def _check(state: Run, more: int, field: str, hint: str) -> None:
    if more > 0 and state.size + more > MAX_BYTES:
        problem = f"the run would have {state.size + more} bytes of parameters, tags and inputs; at most {MAX_BYTES}"
        raise exhausted(field, f"{problem} are kept", hint)


def _of_text(key: str, value: str) -> int:
    return len(key.encode()) + len(value.encode())


def _of_texts(texts: Mapping[str, str]) -> int:
    return sum(_of_text(*each) for each in texts.items())


def _of_input(each: RunInput) -> int:
    texts = each.name, each.digest, each.role, each.source_type, each.source, each.columns, each.profile
    return sum(len(text.encode()) for text in texts) + _of_texts(each.tags)
