"""Orders for workers, as the log has them."""

from __future__ import annotations

from typing import Any

import pytest

from services.pipelines.work_orders import Unreadable, _order


class Damaged:
    """A record of an order whose value is none."""

    position = "events.pipelines/3/17"

    def decode(self) -> Any:
        raise ValueError("no JSON")


def test_an_order_that_can_not_be_read_stands_in_the_way_and_is_named() -> None:
    record: Any = Damaged()
    with pytest.raises(Unreadable, match=r"orders stand still at events\.pipelines/3/17"):
        _order(record)
