"""The tests. What every one of them may use; must not import the platform."""

import os

os.environ.pop("FORGELOG_CONTEXTS", None)  # before anything of Forgelog is imported: it names its contexts by this
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
# MLflow looks at it when it is imported. Its telemetry's thread imports modules; `mlflow.autolog`, which hooks imports,
# and that thread may wait for each other without end.

PATIENCE = 120.0
"""Seconds to wait for what must come. Only a test that fails waits so long, so a slow or busy machine fails none."""
