"""Templates of pipelines: what decides on them, and their tables and queries."""
