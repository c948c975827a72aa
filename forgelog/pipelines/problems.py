"""Why a stage can't go on, in words for the person who wrote it."""

from __future__ import annotations


class StageError(Exception):
    """Something of a stage is wrong: its specification, its data or a place that it reads or writes.

    It says so by the field of the stage, such as ``inputs.raw.path``, what is wrong there, and what to do about it.
    `transient` errors may be gone at another try, such as that of a store which does not answer.
    """

    def __init__(self, field: str, problem: str, remedy: str, *, transient: bool = False) -> None:
        super().__init__(field, problem, remedy)
        self.field = field
        self.problem = problem
        self.remedy = remedy
        self.transient = transient

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}; {self.remedy}" if self.field else f"{self.problem}; {self.remedy}"

    def below(self, parent: str) -> StageError:
        """The same error as seen from further above: ``path`` below ``inputs.raw`` is ``inputs.raw.path``."""
        field = ".".join(part for part in (parent, self.field) if part)
        return StageError(field, self.problem, self.remedy, transient=self.transient)

    def __reduce__(self) -> tuple[object, ...]:
        """Errors travel between the processes of a worker."""
        return _again, (self.field, self.problem, self.remedy, self.transient)


def _again(field: str, problem: str, remedy: str, transient: bool) -> StageError:
    return StageError(field, problem, remedy, transient=transient)


def needs_extra(module: str, extra: str = "pipelines") -> StageError:
    """A library is not installed."""
    return StageError(
        "", f"the Python package {module} is not installed on this node", f"pip install 'forgelog[{extra}]'"
    )
