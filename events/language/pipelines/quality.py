"""Rules of data quality, and what came of them in one evaluation.

A rule looks at the rows that a stage is about to commit. A row fails it or not, and the share of the rows that pass is
held against its threshold: a share below it *breaches* the rule.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import Identifier
from events.language.pipelines.columns import ColumnName, OptionalSql

MAX_RULES = 200
"""Most rules of a source, of a stage or of a dataset."""

MAX_RULE_COLUMNS = 100

Share = Annotated[float, Field(ge=0, le=1)]
Rows = Annotated[int, Field(ge=0, lt=1 << 63)]


class QualityRuleType(StrEnum):
    """What a row must be, to pass."""

    COMPLETENESS = "completeness"
    """None of the columns is null or NaN."""
    UNIQUENESS = "uniqueness"
    """No other row has the same values in the columns. Rows with a null in them pass."""
    RANGE = "range"
    """Each of the columns is between `minimum` and `maximum`, both included. Nulls pass, NaN fails."""
    PATTERN = "pattern"
    """Each of the columns, as text, matches `pattern` as a whole. Nulls pass."""
    CUSTOM = "custom"
    """`expression` is not false. As in a CHECK of SQL, null passes."""


class QualitySeverity(StrEnum):
    """How much a breach matters, and what becomes of the rows that fail."""

    INFO = "info"
    """They stay: the rule only counts."""
    WARNING = "warning"
    """They stay, and a breach is told."""
    ERROR = "error"
    """They go to the quarantine, and a breach is told."""
    CRITICAL = "critical"
    """They go to the quarantine. A breach fails the stage: nothing is committed."""


class QualityLevel(StrEnum):
    """What the expression of a custom rule is about."""

    ROW = "row"
    """Each row, such as ``discount <= price``."""
    TABLE = "table"
    """All rows together, such as ``count(*) >= 1000``. All rows pass, or all fail; none goes to the quarantine."""


def _as_text(value: Any) -> Any:
    """A number as it is written: YAML and Python users give ``minimum: 0``."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Bound = Annotated[str, StringConstraints(max_length=200), BeforeValidator(_as_text), Field(examples=["0.01"])]
"""A value as text, read as the column's type: a number, a date, a time. Empty: none."""


class DataQualityRule(Model):
    """What rows must be."""

    rule_id: Identifier
    """Of its source, stage or dataset; a dataset's rule of the same id as its stage's is evaluated besides."""
    type: QualityRuleType
    description: Annotated[str, StringConstraints(max_length=1_000)] = ""
    columns: tuple[ColumnName, ...] = Field(default=(), max_length=MAX_RULE_COLUMNS)
    """What it looks at. Needed by all types but ``custom``, whose expression names its columns itself."""
    expression: OptionalSql = ""
    """Of ``custom``: a condition in DuckDB's SQL."""
    level: QualityLevel = QualityLevel.ROW
    """Of ``custom``."""
    minimum: Bound = ""
    """Of ``range``."""
    maximum: Bound = ""
    """Of ``range``."""
    pattern: Annotated[str, StringConstraints(max_length=2_000)] = ""
    """Of ``pattern``: a regular expression as RE2 reads it, which takes linear time."""
    keep_first_by: Annotated[str, StringConstraints(max_length=2_000)] = ""
    """Of ``uniqueness``: an order such as ``updated_at DESC``. The first row of those with the same values passes.
    Empty: none of them does, since nothing says which is the right one."""
    where: OptionalSql = ""
    """A condition: other rows pass without a look. Empty: all rows are looked at."""
    threshold: Share = 1.0
    """Least share of the rows that must pass; rows are counted after `where`. An empty table breaches nothing."""
    severity: QualitySeverity = QualitySeverity.ERROR
    quarantine: bool | None = None
    """Whether rows that fail go to the quarantine in place of the output. Left out: as `severity` says."""
    fail_pipeline: bool = False
    """Whether a breach fails the stage, and with it the run, at any severity. ``critical`` does so anyway."""
    enabled: bool = True
    """Whether it is evaluated."""

    @property
    def sets_aside(self) -> bool:
        """Whether the rows that fail leave the output."""
        if self.quarantine is not None:
            return self.quarantine
        return self.level is QualityLevel.ROW and self.severity in (QualitySeverity.ERROR, QualitySeverity.CRITICAL)

    @property
    def stops(self) -> bool:
        """Whether a breach fails the stage."""
        return self.fail_pipeline or self.severity is QualitySeverity.CRITICAL

    @model_validator(mode="after")
    def _fits_its_type(self) -> DataQualityRule:
        kind = self.type
        if bool(self.columns) is (kind is QualityRuleType.CUSTOM):
            raise ValueError(
                "columns must be left out of a custom rule: its expression names them"
                if self.columns
                else f"columns is empty; name the columns that a rule of type {kind} looks at"
            )
        if twice := next((name for name in self.columns if self.columns.count(name) > 1), ""):
            raise ValueError(f"columns names {twice!r} twice; name each column once")
        for name, wanted, needed in (
            ("expression", QualityRuleType.CUSTOM, True),
            ("pattern", QualityRuleType.PATTERN, True),
            ("keep_first_by", QualityRuleType.UNIQUENESS, False),
        ):
            value = getattr(self, name)
            if value and kind is not wanted:
                raise ValueError(f"{name} is for rules of type {wanted} only; leave it out")
            if kind is wanted and needed and not value.strip():
                raise ValueError(f"{name} is empty; a rule of type {wanted} needs it")
        if bool(self.minimum or self.maximum) is not (kind is QualityRuleType.RANGE):
            raise ValueError(
                "minimum and maximum are empty; a rule of type range needs one of them, or both"
                if kind is QualityRuleType.RANGE
                else "minimum and maximum are for rules of type range only; leave them out"
            )
        if self.level is QualityLevel.TABLE:
            self._check_of_table()
        return self

    def _check_of_table(self) -> None:
        if self.type is not QualityRuleType.CUSTOM:
            raise ValueError(f"level 'table' is for rules of type custom only; one of type {self.type} is about rows")
        if self.quarantine:
            raise ValueError("quarantine is true, but a rule of level 'table' names no rows; leave it out")


class RuleOutcome(Model):
    """What came of a rule in one evaluation."""

    rule_id: Identifier
    revision: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """Of a dataset's own rule: which of its definitions was evaluated. 0 of a rule of a stage or a source."""
    type: QualityRuleType
    severity: QualitySeverity
    threshold: Share = 1.0
    rows: Rows
    """That it looked at."""
    passed: Rows
    failed: Rows
    pass_rate: Share
    """`passed` of `rows`; 1 when there are none."""
    breached: bool = False
    """Whether `pass_rate` is below `threshold`."""
    stops: bool = False
    """Whether it failed the stage: it is breached, and a breach of it does so."""
    quarantined: Rows = 0
    """Rows that it set aside."""

    @model_validator(mode="after")
    def _adds_up(self) -> RuleOutcome:
        if self.passed + self.failed != self.rows:
            raise ValueError(f"passed and failed sum to {self.passed + self.failed}, and rows is {self.rows}")
        if self.quarantined > self.failed:
            raise ValueError(f"quarantined is {self.quarantined}, but failed {self.failed}; no more can be set aside")
        if self.stops and not self.breached:
            raise ValueError("stops is true, but breached is not; only a breach fails a stage")
        return self
