"""Judging canaries: pure, from counts and sketches of both revisions over the same time."""
