"""The router: Envoy, which passes requests on, and a companion, which tells it where to.

The companion turns routing tables into Envoy's resources (`resources`, pure), serves these by xDS (`discovery`), keeps
the tables on disk (`tables`) and lets requests wait where no replica is ready (`holding`). Envoy serves on while the
companion, Kafka or the services are down.
"""
