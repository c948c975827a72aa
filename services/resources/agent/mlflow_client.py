"""Variables by which MLflow's unchanged client in a task finds the platform, its run and its job. Pure.

They never hold the key: `MLFLOW_TRACKING_AUTH` names a plugin (`forgelog.mlflow_auth`) that reads it in the task.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from events.language.common import DEFAULT_PROJECT
from events.log.ids import dashed
from events.process.front_door import has_tls, url_of

RUN = "FORGELOG_RUN"
"""By which a job's description names the run that it is."""
EXPERIMENT = "FORGELOG_EXPERIMENT"
EXPERIMENT_ID = "FORGELOG_EXPERIMENT_ID"
"""The experiment of a job's runs: by name, made if there is none of it, or by its id, which no new name changes."""
_OWN_WAYS = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_AUTH")
"""By which a job says itself where its client is to go, or with what."""


def variables(
    gateway: str, project: str, process: Mapping[str, str], given: Mapping[str, str], ca_file: str = ""
) -> dict[str, str]:
    """Those that a task gets beside its job's own.

    `gateway`: its `normalized` address; empty if the node knows none. `ca_file`: the PEM file of who signed its
    certificate; empty if that is somebody whom all know. `process`: job, task and attempt. `given`: the job's own.
    """
    if not gateway:
        return {}
    found = {"MLFLOW_RUN_CONTEXT": json.dumps({f"forgelog.{name}": value for name, value in process.items()})}
    if not any(name in given for name in _OWN_WAYS):
        of = "" if project == DEFAULT_PROJECT else f"/mlflow/{project}"
        found |= {"MLFLOW_TRACKING_URI": f"{url_of(gateway)}{of}", "MLFLOW_TRACKING_AUTH": "forgelog"}
        if ca_file and has_tls(gateway):
            found["MLFLOW_TRACKING_SERVER_CERT_PATH"] = ca_file
    if run := given.get(RUN):
        found["MLFLOW_RUN_ID"] = dashed(run, project)
    if experiment_id := given.get(EXPERIMENT_ID):
        found["MLFLOW_EXPERIMENT_ID"] = experiment_id
    elif experiment := given.get(EXPERIMENT):
        found["MLFLOW_EXPERIMENT_NAME"] = experiment
    return {name: value for name, value in found.items() if name not in given}
