"""The language of pipelines: data work in stages that depend on each other, its runs, and the datasets that it makes.

`pipeline` and `stages` describe a pipeline; `commands`, `events` and `moves` are its life, and `answers` are what
queries tell of it.
"""
