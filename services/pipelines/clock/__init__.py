"""The clock of a pipeline: ticks, backfills, promises in time. Part of the pipeline's aggregate."""
