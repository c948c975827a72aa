"""Calls of a model are made in the loop of requests while those of their size are short."""

from __future__ import annotations

from forgelog.serve.brief import CALLS, MOST_SECONDS, Brief

SHORT, LONG = MOST_SECONDS / 10, MOST_SECONDS * 10


def after(*seconds: float, size: int = 256) -> Brief:
    brief = Brief()
    for each in seconds:
        brief.took(size, each)
    return brief


def test_nothing_is_known_before_some_calls_were_made() -> None:
    assert not after().is_brief(256)
    assert not after(*[SHORT] * (CALLS - 1)).is_brief(256)
    assert after(*[SHORT] * CALLS).is_brief(256)


def test_a_call_that_a_busy_machine_lengthened_does_not_count() -> None:
    assert after(*[LONG] * (CALLS - 1), SHORT).is_brief(256)


def test_calls_that_have_become_long_go_to_the_thread_again() -> None:
    assert not after(*[SHORT] * CALLS, *[LONG] * CALLS).is_brief(256)


def test_larger_inputs_are_judged_by_themselves() -> None:
    brief = after(*[SHORT] * CALLS)
    assert brief.is_brief(300)
    assert not brief.is_brief(1 << 20)
