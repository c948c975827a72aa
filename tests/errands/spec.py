"""The context, as `FORGELOG_CONTEXTS` names it."""

from events.language.contexts import ContextSpec

ERRANDS = ContextSpec(
    "errands", "errands, each of which has a job run", language=("errands.language",), service="errands"
)
