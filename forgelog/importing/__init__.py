"""Runs and models of other trackers, brought into the platform: `forgelog import`.

`source` is what a tracker's data is read as, by `mlflow_files`, `mlflow_database` and `tensorboard`. `target` writes it
to the platform, and `work` does so for all of it, one thing at a time failing or not.
"""
