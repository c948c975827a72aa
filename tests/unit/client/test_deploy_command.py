"""`forgelog deploy` of a model that there is not: it is refused at once, and no deployment is made."""

from __future__ import annotations

from typing import Any

import pytest

from forgelog.cli.deployments import _deployed
from forgelog.errors import NotFound


class Absent:
    """A client of a platform without models; it has no other calls."""

    @property
    def models(self) -> Absent:
        return self

    async def version(self, ref: str) -> Any:
        raise NotFound(f"there is no model {ref.partition('@')[0]!r}")


async def test_no_deployment_is_made_of_a_model_that_there_is_not() -> None:
    client: Any = Absent()
    with pytest.raises(NotFound, match="there is no model 'ghost'"):
        await _deployed(client, "ghost@champion", "", {}, "")
