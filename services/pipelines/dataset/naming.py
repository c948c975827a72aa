"""What datasets are called. Pure."""

from __future__ import annotations

import re

from events.language.common import ErrorCode, refused
from events.language.pipelines.dataset_messages import DatasetDefined
from events.log.ids import id_ending

_LABEL = re.compile(r"[a-z0-9]([a-z0-9_-]{0,118}[a-z0-9])?")


def label_of(dataset_id: str, project: str) -> str:
    """The name of the dataset that has an id. Raises `Refused` for one that is none of the project's."""
    ending = id_ending(project)
    name = dataset_id.removesuffix(ending) if ending else dataset_id
    if not dataset_id.endswith(ending) or not _LABEL.fullmatch(name):
        wanted = f"NAME{ending}, the name of lower-case letters, digits, - and _"
        problem = f"{dataset_id} is the id of no dataset of {project}"
        raise refused(ErrorCode.INVALID_ARGUMENT, "dataset_id", problem, f"give {wanted}")
    return name


def defined(dataset_id: str, project: str, location: str = "") -> DatasetDefined:
    """The beginning of a dataset. Raises `Refused` for an id that is none of the project's."""
    name = label_of(dataset_id, project)
    return DatasetDefined(dataset_id=dataset_id, project=project, name=name, location=location)
