"""Rows with what people think of them, whose stars are in a table of their own."""

from __future__ import annotations


def rated(table: str, ratings: str, key: str) -> str:
    """SQL of the rows of `table`, as `t`, with how many people rated each (`ratings`) and the mean of their stars
    (`rating`). `key`: what both tables call the id."""
    return (
        f"select t.*, coalesce(r.ratings, 0)::int as ratings, coalesce(r.rating, 0)::float8 as rating "
        f"from {table} t left join (select {key}, count(*) as ratings, avg(stars) as rating from {ratings} "
        f"group by {key}) r using ({key})"
    )
