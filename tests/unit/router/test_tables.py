"""Which tables a router keeps, in memory and on disk."""

from __future__ import annotations

from pathlib import Path

from events.log.positions import ReaderPosition
from services.deployments.router.tables import Tables
from tests.unit.router.inputs import revision, table


def opened(folder: Path) -> Tables:
    tables = Tables(folder)
    tables.load()
    return tables


def test_the_table_with_the_highest_number_counts_and_is_there_again_after_a_restart(tmp_path: Path) -> None:
    tables = opened(tmp_path / "t")
    second = table(revision(2, 10_000, "b"), number=2)
    assert tables.put(table(revision(1, 10_000, "a")))
    assert tables.put(second)
    assert not tables.put(second)
    assert not tables.put(table())
    assert opened(tmp_path / "t").now == {"digits.abc234": second}


def test_others_can_not_read_them(tmp_path: Path) -> None:
    tables = opened(tmp_path / "t")
    tables.put(table())
    tables.note({("deployments", 0): ReaderPosition(7, 3)})
    assert (tmp_path / "t").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "t").iterdir()} == {0o600}


def test_a_deployment_that_has_ended_is_forgotten_and_its_older_tables_stay_away(tmp_path: Path) -> None:
    tables = opened(tmp_path)
    tables.put(table(number=3))
    assert tables.put(table(number=4, terminated=True))
    assert tables.now == {}
    assert not tables.put(table(number=3))
    assert [*tmp_path.iterdir()] == []
    assert tables.put(table(number=5))  # the same name again


def test_what_is_not_among_all_there_are_goes(tmp_path: Path) -> None:
    tables = opened(tmp_path)
    tables.put(table(name="one"))
    tables.put(table(name="two", number=5))
    assert tables.keep_only([table(name="two", number=4), table(name="three")])
    assert {name: one.number for name, one in tables.now.items()} == {"two.abc234": 5, "three.abc234": 1}
    assert opened(tmp_path).now == tables.now
    assert not tables.keep_only([*tables.now.values()])


def test_a_replica_that_leaves_its_table_is_remembered_until_it_has_no_requests(tmp_path: Path) -> None:
    tables = opened(tmp_path)
    tables.put(table(revision(1, 10_000, "a", "b")))
    tables.put(table(revision(1, 10_000, "b"), number=2))
    assert [*tables.leaving["digits.abc234"]] == ["a"]
    tables.put(table(revision(1, 10_000), number=3))
    assert [*tables.leaving["digits.abc234"]] == ["a", "b"]
    tables.put(table(revision(1, 10_000, "b"), number=4))  # it is back
    assert [*tables.leaving["digits.abc234"]] == ["a"]
    tables.left("digits.abc234", "a")
    assert tables.leaving == {}


def test_a_damaged_file_costs_its_table_and_the_position(tmp_path: Path) -> None:
    tables = opened(tmp_path)
    tables.put(table(name="one"))
    tables.put(table(name="two"))
    tables.note({("deployments", 1): ReaderPosition(7, 3)})
    assert opened(tmp_path).position == {("deployments", 1): ReaderPosition(7, 3)}
    (tmp_path / "one.abc234.json").write_bytes(b'{"number": ')
    again = opened(tmp_path)
    assert again.now.keys() == {"two.abc234"}
    assert again.position == {}
