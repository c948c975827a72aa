"""The language of deployments: models that are served, and how requests get to their replicas.

`models` and its kin (`serving`, `routing`) describe a deployment; `commands`, `events` and `moves` are its life, and
`answers` are what queries tell of it.
"""
