"""What people say of something that others may use: one to five stars and a comment each. Their last word counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from events.language.common import ErrorCode, refused

Stars = Annotated[int, Field(ge=1, le=5)]

Comment = Annotated[str, Field(max_length=2_000)]

MOST_RATINGS = 10_000
"""Of one thing."""


def is_news(ratings: Mapping[str, tuple[int, str]], rater: str, stars: int, comment: str, *, template: str) -> bool:
    """Whether somebody says something else of a template than before. `ratings`: who → stars and comment. Raises
    Refused(resource_exhausted)."""
    if ratings.get(rater) == (stars, comment):
        return False
    if len(ratings) >= MOST_RATINGS and rater not in ratings:
        problem = f"template {template} has {MOST_RATINGS} ratings, and takes no more"
        hint = "those who have rated it may change their rating"
        raise refused(ErrorCode.RESOURCE_EXHAUSTED, "template_id", problem, hint)
    return True
