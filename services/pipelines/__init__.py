"""Pipelines: data work in stages, its runs, and the datasets that it makes."""
