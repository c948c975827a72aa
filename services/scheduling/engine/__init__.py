"""The scheduling engine: from nodes, holds and waiting tasks to placements. Pure and incremental; knows no events.

`Cluster` has the nodes and holds, `Backlog` the waiting tasks, `plan` decides placements, and `explain` gives the
reasons why a task has none. Jobs with equal requests share one `Shape`. A shape keeps a heap of the nodes that can take
it, updated from the cluster's change log, so the cost of a plan depends on what has changed since the last one.
"""
