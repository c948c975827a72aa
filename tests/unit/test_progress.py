"""Progress: given what readers say of themselves, then what is said to lag, and what to stand still."""

from __future__ import annotations

from events.progress import ASLEEP, Lag, Progress

PATIENCE = 30.0


class Watched:
    """One reader, looked at once a second."""

    def __init__(self) -> None:
        self.progress = Progress(PATIENCE)
        self.now = 1000.0

    def look(self, position: int, end: int, *, cause: str = "", after: float = 1.0) -> Lag:
        self.now += after
        self.progress.begin(self.now)
        self.progress.note("tables", "events.jobs/0", position, end, cause)
        self.progress.end()
        (lag,) = self.progress.lags
        return lag


def test_a_reader_at_the_end_lags_by_nothing_however_long_nothing_comes() -> None:
    reader = Watched()
    for _ in range(100):
        lag = reader.look(7, 7)
    assert (lag.left, lag.oldest_seconds, lag.still_seconds, lag.cause) == (0, 0.0, 0.0, "")
    assert reader.progress.standing() == {}


def test_what_comes_after_a_long_rest_is_new() -> None:
    reader = Watched()
    for _ in range(100):
        reader.look(7, 7)
    assert reader.look(7, 9).still_seconds == 0.0


def test_a_busy_reader_that_never_catches_up_does_not_stand_still() -> None:
    reader = Watched()
    for second in range(200):
        lag = reader.look(10 * second, 5000 + 11 * second)
    assert lag.left == 5199
    assert lag.still_seconds == 0.0
    assert reader.progress.standing() == {}


def test_the_oldest_of_what_is_left_is_as_old_as_the_end_that_was_first_seen_beyond_the_reader() -> None:
    reader = Watched()
    reader.look(0, 10)
    reader.look(0, 20)
    reader.look(0, 30)
    assert reader.look(10, 30).oldest_seconds == 2.0  # the record at 10 came with the second look
    assert reader.look(29, 30).oldest_seconds == 2.0
    assert reader.look(30, 30).oldest_seconds == 0.0


def test_a_reader_that_does_not_move_stands_still_after_the_bound_and_the_cause_is_told() -> None:
    reader = Watched()
    reader.look(3, 5)
    for _ in range(int(PATIENCE)):
        assert reader.look(3, 5, cause="the database is away").cause == ""
    lag = reader.look(3, 5, cause="the database is away")
    assert lag.still_seconds > PATIENCE
    (text,) = reader.progress.standing().values()
    assert text == "2 events are not in the tables; nothing has moved for 31 s: the database is away"
    assert reader.look(5, 5).cause == ""
    assert reader.progress.standing() == {}


def test_a_reader_that_stands_still_for_no_known_cause_says_so() -> None:
    reader = Watched()
    for _ in range(40):
        lag = reader.look(3, 4)
    assert "no cause is known" in lag.cause


def test_a_process_that_was_stopped_could_not_move() -> None:
    reader = Watched()
    reader.look(3, 5)
    lag = reader.look(3, 5, after=3600.0)
    assert lag.still_seconds <= ASLEEP
    assert lag.oldest_seconds <= ASLEEP
    assert reader.progress.standing() == {}


def test_readers_that_were_given_up_are_forgotten() -> None:
    progress = Progress(PATIENCE)
    progress.begin(1.0)
    progress.note("commands", "commands.jobs/0", 0, 3)
    progress.end()
    progress.begin(2.0)
    progress.note("commands", "commands.jobs/1", 0, 3)
    progress.end()
    assert [lag.place for lag in progress.lags] == ["commands.jobs/1"]


def test_an_end_that_is_there_no_more_is_not_waited_for() -> None:
    """The log was lost, and another one begins that is shorter."""
    reader = Watched()
    reader.look(50, 54)
    for _ in range(100):
        lag = reader.look(2, 2)
    assert (lag.left, lag.still_seconds, lag.cause) == (0, 0.0, "")
    assert reader.look(2, 3).still_seconds == 0.0
