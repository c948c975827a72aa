"""Which tests run side by side in a parallel run, as `make test` is one: a worker takes one file after the other.

Files that start platforms come first: they take longest, and the many short files at the end keep both workers busy to
the last.
"""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

CALM = "calm"

ON_THE_CALM_PLATFORM = (
    "tests/clients/test_mlflow.py",
    "tests/clients/test_autolog.py",
    "tests/clients/test_mlflow_artifacts.py",
    "tests/clients/test_mlflow_inputs.py",
    "tests/clients/test_mlflow_jobs.py",
    "tests/clients/test_mlflow_endpoints.py",
    "tests/clients/test_mlflow_registry.py",
    "tests/clients/test_mlflow_training.py",
    "tests/clients/test_mlflow_models.py",
    "tests/integration/test_bad_input.py",
    "tests/clients/test_optuna.py",
    "tests/integration/test_captures.py",
    "tests/integration/test_seals.py",
    "tests/integration/test_reproduce.py",
    "tests/integration/test_experiments.py",
    "tests/integration/test_run_points.py",
    "tests/integration/test_tracking.py",
    "tests/integration/test_models.py",
    "tests/integration/test_templates.py",
    "tests/integration/test_built_in_templates.py",
    "tests/integration/test_importing.py",
    "tests/integration/test_doors.py",
    "tests/integration/test_server_doors.py",
    "tests/integration/test_tuning_engine.py",
    "tests/judges/test_cloudevents.py",
    "tests/judges/test_grpcurl.py",
    "tests/judges/test_producers.py",
)
"""Files whose tests share one platform, so that one worker runs them all."""

LONG = (
    "tests/integration/test_cli.py",
    "tests/integration/test_docs.py",
    "tests/judges/test_schemathesis.py",
)
"""The longest files, which come first, longest first."""


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Every file is one piece of work; those on the platform that modules share are one together."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return CALM if file in ON_THE_CALM_PLATFORM else file

    def schedule(self) -> None:
        # By number of tests, as usual, some file of many short tests could come first.
        self.config.option.loadscopereorder = False
        super().schedule()


def rank(file: str) -> int:
    """Where a file stands in the order of a run: the lowest first."""
    if file in LONG:
        return LONG.index(file)
    # The shared platform runs from its first test to the end of the run: the short tests alone come after that.
    return len(LONG) + (file in ON_THE_CALM_PLATFORM) + 2 * file.startswith("tests/unit/")
