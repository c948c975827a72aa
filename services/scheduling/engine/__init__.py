"""The scheduling engine: from nodes, holds and waiting tasks to placements. Pure and incremental; knows no events.

`Cluster` is what is there, `Backlog` is what waits, `plan` says what goes where, `explain` says why something does not.
Jobs that ask for the same are one `Shape`; a shape keeps a heap of the nodes that can take it, mended from the
cluster's change log, so a plan costs as much as has changed since the last one.
"""
