"""When an alert fires and when it is over, by the values of its windows. Pure.

Windows follow each other without a gap. An alert fires when its last windows, as many as it says, all breach, and is
over with the first window that does not. A window without a value counts neither way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from events.language.deployments.alerts import AlertComparison, AlertFinding, DeploymentAlert


class Turn(StrEnum):
    """What a window changed."""

    NONE = "none"
    FIRED = "fired"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class AlertState:
    """Where an alert is."""

    firing: bool = False
    breaches: tuple[float, ...] = ()
    """The values of the last windows, as far as they breach in a row; no more than the alert needs."""


def breaches(alert: DeploymentAlert, value: float) -> bool:
    """Whether one window's value is beyond the threshold."""
    match alert.comparison:
        case AlertComparison.ABOVE:
            return value > alert.threshold
        case AlertComparison.AT_LEAST:
            return value >= alert.threshold
        case AlertComparison.BELOW:
            return value < alert.threshold
        case AlertComparison.AT_MOST:
            return value <= alert.threshold


def breached(alert: DeploymentAlert, windows: Sequence[float]) -> bool:
    """Whether an alert fires on these windows, the newest last."""
    last = windows[-alert.consecutive :]
    return len(last) == alert.consecutive and all(breaches(alert, value) for value in last)


def after_window(alert: DeploymentAlert, state: AlertState, value: float | None) -> tuple[AlertState, Turn]:
    """Where the alert is after one more window, and what that changed."""
    if value is None:
        return state, Turn.NONE
    if not breaches(alert, value):
        return AlertState(), Turn.RESOLVED if state.firing else Turn.NONE
    values = (*state.breaches, value)[-alert.consecutive :]
    firing = state.firing or breached(alert, values)
    return AlertState(firing, values), Turn.FIRED if firing and not state.firing else Turn.NONE


def finding(alert: DeploymentAlert, state: AlertState, column: str = "") -> AlertFinding:
    """What an alert that fired has seen. `column`: of drift, whose value the last one is."""
    return AlertFinding(alert=alert, windows=state.breaches, column=column)
