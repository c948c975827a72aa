"""What people say of something that others may use: one to five stars and a comment each. Their last word counts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Stars = Annotated[int, Field(ge=1, le=5)]

Comment = Annotated[str, Field(max_length=2_000)]

MOST_RATINGS = 10_000
"""Of one thing."""
