"""The one place where a version says what it does on purpose otherwise than the versions whose histories are recorded.

Add a `Change` here when a test of recorded histories shows a difference that is meant. It has to say why. What it
concerns is stored somewhere in its old form too: raise the projection's `version` for rows, the decider's
`dump_version` (or the snapshots' `FORMAT`) for states.
"""

from __future__ import annotations

from typing import Any

from services.resources.projections import USES
from tests.golden.comparing import Change

MOVED_TO_NODE_USES = USES.columns.keys() - set(USES.key)


def _not_there_yet(what: str) -> dict[str, Any]:
    message = f"there is no {what} as of 2026-11-27T22:57:26.213817Z"
    return {"status": 404, "body": {"error": {"message": message}}}


CHANGES: tuple[Change, ...] = (
    Change(
        "placed and returned tasks are counted apart",
        "A row depends on events of one context only, so that tables have a past: what resources gave back is counted "
        "in `returns` (51 tasks here), and queries subtract it.",
        "rows/scheduling/queues/default/placed_tasks",
        lambda placed: placed + 51,
        ("2026-11-26",),
    ),
    Change(
        "what nodes hold is apart from what they are",
        "Every placement makes two versions of what its node holds, so that is a table of its own (`node_uses`); a "
        "test of recorded histories holds its rows against those that were recorded.",
        "rows/resources/nodes",
        lambda nodes: {
            key: {name: value for name, value in node.items() if name not in MOVED_TO_NODE_USES}
            for key, node in nodes.items()
        },
        ("2026-11-26",),
    ),
    Change(
        "a wrong field is named apart from the text",
        "A client finds the field of an INVALID_ARGUMENT in `errors`, and need not look for it in the text.",
        "answers/by//v1/runs/r-first/seal*/body/error/errors",
        lambda _: [
            {
                "field": "options.as_of",
                "problem": "what is stored is held against the seal now",
                "hint": "leave it out",
            }
        ],
        ("2026-11-27-experiments",),
    ),
    Change(
        "moments in texts end in Z",
        "Texts for people write a moment in one way, as tables and JSON do.",
        "answers/by//v1/*as_of=*/body/error/message",
        lambda message: message.replace("+00:00", "Z"),
        ("2026-11-26", "2026-11-27", "2026-11-27-experiments"),
    ),
    Change(
        "parts of a model that was not there yet",
        "A list of the parts of what is not there was empty, as if it had none; it is refused, as what is not there.",
        "answers/by//v1/models/mo-figures/live?as_of=2026-11-27T22%3A57%3A26.213817Z",
        lambda _: _not_there_yet("model 'mo-figures'"),
        ("2026-11-27-experiments",),
    ),
    Change(
        "trials of a tuning that was not there yet",
        "A list of the parts of what is not there was empty, as if it had none; it is refused, as what is not there.",
        "answers/by//v1/tunings/t-study/trials?as_of=2026-11-27T22%3A57%3A26.213817Z",
        lambda _: _not_there_yet("tuning 't-study'"),
        ("2026-11-27-experiments",),
    ),
)
