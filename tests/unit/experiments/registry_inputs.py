"""What the deciders of files, models and datasets are given, in any order."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from events.language.base import Command, Event
from events.language.common import DEFAULT_PROJECT
from events.language.experiments import Artifact, LogArtifacts, RemoveArtifacts
from events.language.experiments.datasets import (
    CheckDataset,
    DatasetSpec,
    LogInputs,
    RegisterDataset,
    ReportDatasetChecked,
)
from events.language.experiments.models import RunInput
from events.language.experiments.registry import (
    ApprovalRule,
    ApprovePromotion,
    CheckModelVersion,
    CreateModelVersion,
    DeleteModel,
    DeleteModelVersion,
    Derivation,
    ModelAccess,
    ModelStage,
    ModelVersionSpec,
    ParentVersion,
    RegisterModel,
    RejectPromotion,
    RemoveAlias,
    RenameModel,
    ReportVersionChecked,
    RequestPromotion,
    SetAlias,
    SetEnvironment,
    SetModelStage,
    UpdateModel,
    UpdateModelVersion,
)
from events.language.objects import ObjectRef

Inputs = st.SearchStrategy[Command | Event | float]

RUNS = st.sampled_from(["r1", "r2", "r3"])
PATHS = st.sampled_from(["a", "a/b", "a/b/c", "d"])
DIGESTS = st.sampled_from(["1" * 64, "2" * 64])
REFS = st.builds(ObjectRef, digest=DIGESTS, size=st.just(9))
NAMES = st.sampled_from(["digits", "numerals"])
MODELS = st.sampled_from(["md1", "md2"])
VERSIONS = st.sampled_from(["mv1", "mv2", "mv3"])
PROMOTIONS = st.sampled_from(["mp1", "mp2"])
DATASETS = st.sampled_from(["ds1", "ds2", "ds3"])
NUMBERS = st.integers(1, 3)
TAGS = st.dictionaries(st.sampled_from(["team", "kind"]), st.none() | st.sampled_from(["x", "y"]), max_size=2)
ENVIRONMENTS = st.sampled_from(["staging", "production"])
REASONS = st.sampled_from(["", "because"])

_of: dict[str, Any] = {"project": st.just(DEFAULT_PROJECT)}
_checked: dict[str, Any] = {"check": NUMBERS, "intact": st.booleans(), "reason": REASONS}

run_files: Inputs = st.one_of(
    st.builds(
        LogArtifacts,
        run_id=RUNS,
        artifacts=st.lists(st.builds(Artifact, path=PATHS, file=REFS), min_size=1, max_size=3).map(tuple),
    ),
    st.builds(RemoveArtifacts, run_id=RUNS, paths=st.lists(PATHS, min_size=1, max_size=2).map(tuple)),
    st.builds(
        LogInputs,
        run_id=RUNS,
        inputs=st.lists(st.builds(RunInput, name=NAMES, digest=DIGESTS), min_size=1, max_size=2).map(tuple),
    ),
)

_rules = st.lists(
    st.builds(
        ApprovalRule,
        environment=ENVIRONMENTS,
        approvers=st.sampled_from([(), ("owner",), ("ada",)]),
        by_others=st.booleans(),
    ),
    max_size=2,
).map(tuple)

registry: Inputs = st.one_of(
    st.builds(RegisterModel, **_of, model_id=MODELS, name=NAMES, approval_rules=_rules),
    st.builds(
        UpdateModel,
        **_of,
        model_id=MODELS,
        access=st.none() | st.sampled_from(ModelAccess),
        add_allowed=st.sampled_from([(), ("ada",)]),
        remove_rules=st.sampled_from([(), ("production",)]),
        approval_rules=_rules,
        tags=TAGS,
    ),
    st.builds(RenameModel, **_of, model_id=MODELS, name=NAMES),
    st.builds(DeleteModel, **_of, model_id=MODELS),
    st.builds(SetAlias, **_of, model_id=MODELS, alias=st.just("champion"), number=NUMBERS),
    st.builds(RemoveAlias, **_of, model_id=MODELS, alias=st.just("champion")),
    st.builds(SetEnvironment, **_of, model_id=MODELS, environment=ENVIRONMENTS, number=st.none() | NUMBERS),
    st.builds(
        CreateModelVersion,
        **_of,
        version_id=VERSIONS,
        model_id=MODELS,
        spec=st.builds(
            ModelVersionSpec,
            bundle=REFS,
            source_run_id=st.just("") | RUNS,
            parents=st.lists(
                st.builds(ParentVersion, version_id=VERSIONS, derivation=st.sampled_from(Derivation)), max_size=1
            ).map(tuple),
        ),
    ),
    st.builds(UpdateModelVersion, **_of, version_id=VERSIONS, notes=st.none() | REASONS, tags=TAGS),
    st.builds(DeleteModelVersion, **_of, version_id=VERSIONS),
    st.builds(
        SetModelStage,
        **_of,
        version_id=VERSIONS,
        stage=st.sampled_from(ModelStage),
        archive_existing=st.booleans(),
    ),
    st.builds(CheckModelVersion, **_of, version_id=VERSIONS),
    st.builds(ReportVersionChecked, **_of, version_id=VERSIONS, **_checked),
    st.builds(
        RequestPromotion,
        **_of,
        promotion_id=PROMOTIONS,
        model_id=MODELS,
        number=NUMBERS,
        environment=ENVIRONMENTS,
    ),
    st.builds(ApprovePromotion, **_of, promotion_id=PROMOTIONS),
    st.builds(RejectPromotion, **_of, promotion_id=PROMOTIONS, reason=st.just("no")),
)

datasets: Inputs = st.one_of(
    st.builds(
        RegisterDataset,
        **_of,
        version_id=DATASETS,
        name=NAMES,
        spec=st.builds(DatasetSpec, bundle=REFS)
        | st.builds(DatasetSpec, digest=DIGESTS, parents=st.lists(DATASETS, max_size=1).map(tuple)),
    ),
    st.builds(CheckDataset, **_of, version_id=DATASETS),
    st.builds(ReportDatasetChecked, **_of, version_id=DATASETS, **_checked),
)
