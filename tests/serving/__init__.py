"""The model server as a process: ``python -m forgelog.serve``."""
