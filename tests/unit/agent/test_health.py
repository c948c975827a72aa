"""Given a probe's answers, one after the other, then its verdict changes only after enough equal ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.resources.agent.health import Stillness, Streak, Verdict


def verdicts(answers: str, successes: int = 1, failures: int = 3) -> list[tuple[int, bool]]:
    """Number of the answer (from 1) and verdict, for each change. ``+`` is a good answer, ``-`` a failure."""
    streak = Streak(successes, failures)
    changes = [(number, streak.after("" if answer == "+" else "no answer")) for number, answer in enumerate(answers, 1)]
    return [(number, verdict.good) for number, verdict in changes if verdict is not None]


def test_one_good_answer_is_enough_at_first() -> None:
    assert verdicts("++++") == [(1, True)]


def test_the_first_verdict_may_be_bad() -> None:
    assert verdicts("--") == []
    assert verdicts("---") == [(3, False)]
    assert verdicts("--+") == [(3, True)]


def test_failures_count_only_in_a_row() -> None:
    assert verdicts("+--+--+--") == [(1, True)]
    assert verdicts("+--+---") == [(1, True), (7, False)]


def test_good_answers_count_only_in_a_row() -> None:
    assert verdicts("+---+-+-++", successes=2) == [(4, False), (10, True)]
    assert verdicts("+-++", successes=2) == [(4, True)]


def test_the_verdict_says_what_was_wrong_and_how_often() -> None:
    streak = Streak(1, 2)
    assert streak.after("refused") is None
    assert streak.after("status 503") == Verdict(False, "status 503 (2 times in a row)")
    assert streak.after("") == Verdict(True)
    assert Streak(1, 1).after("refused") == Verdict(False, "refused")


@given(st.text("+-", max_size=60), st.integers(1, 4), st.integers(1, 4))
def test_every_change_ends_a_row_of_equal_answers(answers: str, successes: int, failures: int) -> None:
    good, row, expected = None, "", []
    for number, answer in enumerate(answers, 1):
        row = row + answer if row.endswith(answer) else answer
        wanted = answer == "+"
        if good is not wanted and len(row) >= (successes if wanted else failures):
            good = wanted
            expected.append((number, good))
    assert verdicts(answers, successes, failures) == expected


def hangs(*probes: tuple[bool, float, float | None], seconds: float = 2.0) -> list[bool]:
    """After each probe of so many seconds: whether it got no answer, CPU seconds before and after."""
    stillness, now, found = Stillness(), 0.0, []
    for silent, before, after in probes:
        found.append(stillness.after(silent, now, before, now + seconds, after))
        now += seconds
    return found


def test_a_task_that_neither_answers_nor_computes_hangs() -> None:
    assert hangs((False, 1.0, 1.1), (True, 1.1, 1.1), (True, 1.1, 1.11)) == [False, False, True]


def test_one_that_computes_is_busy() -> None:
    assert hangs((True, 1.0, 2.5), (True, 2.5, 2.5), (True, 2.5, 2.5)) == [False, False, False]


def test_one_that_answers_in_between_or_waits_for_a_disk_begins_anew() -> None:
    assert hangs((True, 1, 1), (False, 1, 1), (True, 1, 1)) == [False, False, False]
    assert hangs((True, 1, 1), (True, 1, None), (True, 1, 1), (True, 1, 1)) == [False, False, False, True]
