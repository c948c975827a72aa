"""Pipelines written in Python: stages as functions, and the pipeline that they form.

What is declared becomes the same document that a manifest has (``kind: Pipeline``), and is read by the same code: the
keys and the errors are the same. Nothing here runs a stage or needs the extra ``pipelines``.
"""
