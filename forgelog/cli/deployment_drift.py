"""`deployments drift`: how far what a model is asked is from what it was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from forgelog.cli.common import AtOption, OutputOption, moment, with_client
from forgelog.cli.log import SinceOption, UntilOption
from forgelog.cli.render import Column, Format, column, note, show_data, show_rows
from forgelog.cli.scaling import NameArgument

_WORDS = {"not_counted": "not counted", "too_few": "too few values"}
_MOST_NAMED = 10


def drift(
    name: NameArgument,
    revision: Annotated[int, typer.Option("--revision", min=0, help="Of this one; 0: the one in place.")] = 0,
    since: SinceOption = None,
    until: UntilOption = None,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show how far what a deployment's model is asked is from what it was trained on, by column.

    By the population stability index: above 0.1 a moderate drift, above 0.2 a grave one."""
    found = with_client(
        lambda client: client.deployments.drift(
            name,
            revision=revision,
            since=moment(since, "--since"),
            until=moment(until, "--until"),
            at=moment(at),
        )
    )
    if output is not Format.TABLE:
        show_data(found, output)
        return
    if found["reason"]:
        note(f"nothing is compared: {found['reason']}")
        return
    compared = [each for each in found["columns"] if each["verdict"] != "not_counted"]
    columns = [
        column("Column", least=8),
        Column("PSI", lambda row: "" if row["index"] is None else f"{row['index']:.3f}", right=True),
        Column("Result", lambda row: _WORDS.get(row["verdict"], row["verdict"])),
        column("Values", right=True, rank=1),
        Column(
            "Missing", lambda row: "" if row["missing"] is None else f"{100 * row['missing']:.1f}%", right=True, rank=3
        ),
        Column("Most changed", _most_changed, rank=2),
    ]
    show_rows(compared, columns, output, empty="no column of the training data is counted")
    note(f"revision {found['revision']}, compared with {found['dataset']}")
    if left := [each["column"] for each in found["columns"] if each["verdict"] == "not_counted"]:
        more = f" and {len(left) - _MOST_NAMED} more" if len(left) > _MOST_NAMED else ""
        note(
            f"not counted: {', '.join(left[:_MOST_NAMED])}{more} (see features and outputs of serving.monitoring.drift)"
        )


def _most_changed(row: Mapping[str, Any]) -> str:
    """The bin whose share changed most, where something is said of the column."""
    if row["index"] is None:
        return ""
    changed = [abs(now - was) for was, now in zip(row["expected"], row["observed"], strict=True)]
    most = changed.index(max(changed))
    return f"{row['bins'][most]}: {100 * row['expected'][most]:.0f}% → {100 * row['observed'][most]:.0f}%"
