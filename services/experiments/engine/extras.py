"""Which algorithms need packages that do not come with Forgelog. Imports none of them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from events.language.experiments import TuningAlgorithm

PACKAGES: Mapping[TuningAlgorithm, tuple[str, ...]] = {
    TuningAlgorithm.CMAES: ("cmaes",),
    TuningAlgorithm.GP: ("torch", "scipy"),
}
"""Algorithm → the packages that it needs. The extra of Forgelog that has them is called like the algorithm."""


def missing_algorithms() -> dict[TuningAlgorithm, str]:
    """The algorithms that can't be used here, and what to do."""
    found: dict[TuningAlgorithm, str] = {}
    for algorithm, packages in PACKAGES.items():
        absent = [name for name in packages if find_spec(name) is None]
        if absent:
            remedy = f"pip install 'forgelog[{algorithm}]' (it lacks {', '.join(absent)})"
            found[algorithm] = f"where the platform runs: {remedy}, and start it again; or take tpe"
    return found
