"""Versions of datasets as events of OpenLineage (https://openlineage.io/spec/2-0-2/OpenLineage.json), for catalogues
such as Marquez and DataHub. Pure: from rows, or the client's answers, to JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from events.language.pipelines.openlineage import OWN, DatasetNaming, naming_of
from events.log.ids import id_ending

PRODUCER = "https://github.com/forgelog/forgelog"
_EVENT = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"


def event_of(version: Mapping[str, Any]) -> dict[str, Any]:
    """The event that tells of a published version (`DataVersionRow`): what made it, of what, and its columns."""
    project = version["project"]
    namespace, job = f"{OWN}{project}", f"{version['pipeline_id']}.{version['stage_id']}"
    parent = {
        "run": {"runId": _uuid(project, version["run_id"])},
        "job": {"namespace": namespace, "name": version["pipeline_id"]},
    }
    kind = {"processingType": "BATCH", "integration": "FORGELOG", "jobType": "STAGE"}
    return {
        "eventType": "COMPLETE",
        "eventTime": version["published_at"].isoformat(),
        "producer": PRODUCER,
        "schemaURL": _EVENT,
        "run": {
            "runId": _uuid(project, version["run_id"], version["stage_id"], str(version["attempt"])),
            "facets": {"parent": _facet("ParentRunFacet", "1-2-0", **parent)},
        },
        "job": {
            "namespace": namespace,
            "name": job,
            "facets": {"jobType": _facet("JobTypeJobFacet", "2-0-4", **kind)},
        },
        "inputs": [_input(each, project) for each in version["inputs"]],
        "outputs": [_output(version, namespace)],
    }


def _input(read: Mapping[str, Any], project: str) -> dict[str, Any]:
    facets = {}
    if read["version"]:
        facets["version"] = _facet("DatasetVersionDatasetFacet", "1-0-1", datasetVersion=str(read["version"]))
    return {**_naming(read, project)._asdict(), "facets": facets}


def _output(version: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    fields = [{"name": column["name"], "type": column["type"]} for column in version["columns"]]
    facets = {
        "schema": _facet("SchemaDatasetFacet", "1-2-0", fields=fields),
        "version": _facet("DatasetVersionDatasetFacet", "1-0-1", datasetVersion=str(version["version"])),
    }
    if version["location"]:
        place = {**naming_of(version["location"])._asdict(), "type": "LOCATION"}
        facets["symlinks"] = _facet("SymlinksDatasetFacet", "1-0-1", identifiers=[place])
    if not version["lineage"]["unresolved"]:
        facets["columnLineage"] = _facet("ColumnLineageDatasetFacet", "1-2-0", fields=_columns(version))
    statistics = {"rowCount": version["rows"], "size": version["bytes"]}
    return {
        "namespace": namespace,
        "name": _label(version["dataset_id"], version["project"]),
        "facets": facets,
        "outputFacets": {"outputStatistics": _facet("OutputStatisticsOutputDatasetFacet", "1-0-2", **statistics)},
    }


def _columns(version: Mapping[str, Any]) -> dict[str, Any]:
    """Column → the fields that it is computed from."""
    inputs = {each["name"]: _naming(each, version["project"])._asdict() for each in version["inputs"]}
    found: dict[str, Any] = {}
    for edge in version["lineage"]["columns"]:
        if edge["dataset"] in inputs:
            fields = found.setdefault(edge["column"], {"inputFields": []})["inputFields"]
            fields.append({**inputs[edge["dataset"]], "field": edge["source"]})
    return found


def _naming(read: Mapping[str, Any], project: str) -> DatasetNaming:
    if read["dataset_id"]:
        return DatasetNaming(f"{OWN}{project}", _label(read["dataset_id"], project))
    return naming_of(read["location"])


def _label(dataset_id: str, project: str) -> str:
    return dataset_id.removesuffix(id_ending(project))


def _uuid(*parts: str) -> str:
    """The same for the same run, so that a catalogue that is told twice knows it."""
    return str(uuid5(NAMESPACE_URL, OWN + "/".join(parts)))


def _facet(name: str, version: str, **said: Any) -> dict[str, Any]:
    url = f"https://openlineage.io/spec/facets/{version}/{name}.json#/$defs/{name}"
    return {"_producer": PRODUCER, "_schemaURL": url, **said}
