"""Which tests run side by side in a parallel run, as `make test` is one.

Whole platforms run one after the other on one worker: two of them at a time would be slow on two cores, and too much
for a small machine's memory. Beside them the other worker runs what starts none, a file at a time.
"""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

PLATFORMS = "platforms"

BESIDE = (
    "tests/unit/",
    "tests/integration/test_epochs_broker.py",
    "tests/integration/test_export.py",
    "tests/integration/test_history.py",
    "tests/integration/test_lost_log.py",
    "tests/integration/test_object_references.py",
    "tests/integration/test_other_consumers.py",
    "tests/integration/test_poison.py",
    "tests/integration/test_producer.py",
    "tests/integration/test_rebuild.py",
    "tests/integration/test_repair.py",
    "tests/integration/test_resources.py",
    "tests/integration/test_runtime.py",
    "tests/integration/test_scheduling.py",
    "tests/integration/test_starting_as_another_user.py",
    "tests/integration/test_stream_storing.py",
    "tests/integration/test_streams.py",
    "tests/integration/test_tamper.py",
    "tests/integration/test_views.py",
    "tests/judges/test_buf.py",
    "tests/judges/test_documents.py",
)
"""What starts no platform: such a test runs the writer or projection that it is about. A file that is not named here is
taken for one that does."""

NOT_BESIDE = ("tests/integration/test_lost_log.py::test_a_node_ends_what_a_lost_log_had_it_run",)
"""Tests on a platform in those files."""


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """The platforms are one piece of work, which is handed out first; every other file is one."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(BESIDE) and not nodeid.startswith(NOT_BESIDE):
            return nodeid.partition("::")[0]
        return PLATFORMS

    def schedule(self) -> None:
        # By number of tests, as usual, some file of many short tests could come first.
        self.config.option.loadscopereorder = False
        super().schedule()
