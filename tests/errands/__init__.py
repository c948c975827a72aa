"""A context outside of the platform's own: errands, each of which orders a job and hears what becomes of it.

Services run it as the package ``errands`` (`tests` in PYTHONPATH, ``FORGELOG_CONTEXTS=errands.spec:ERRANDS``).
"""
