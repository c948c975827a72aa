"""What a job's processes run in and as: container, volumes, users, privileges.

Parts of `JobEnvironment` and `JobSpec`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import Identifier, OptionalIdentifier

AbsolutePath = Annotated[str, StringConstraints(pattern=r"^/[^\x00]*$", max_length=4096)]
"""An absolute path on the node or in the container."""

UserName = Annotated[str, StringConstraints(pattern=r"^([a-z_][a-z0-9_-]{0,31})?$")]
"""A user's or group's name as POSIX has it; empty for none."""

UserId = Annotated[int, Field(ge=0, le=2_147_483_647)]

Capability = Annotated[str, StringConstraints(pattern=r"^(CAP_[A-Z_]{2,40}|ALL)$")]
"""A Linux capability, such as ``CAP_NET_ADMIN``, or ``ALL``."""

ProfileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/-]{0,200}$")]


class PullPolicy(StrEnum):
    """When an image is fetched."""

    IF_NOT_PRESENT = "if_not_present"
    ALWAYS = "always"
    NEVER = "never"


class ContainerImage(Model):
    """The image a job's processes run in, and how to get it."""

    image: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][A-Za-z0-9._/:@-]*$", min_length=1, max_length=512)]
    """Name with tag or digest, such as ``pytorch/pytorch:2.9`` or ``alpine@sha256:...``."""
    registry: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:_-]{0,255}$")] = ""
    """Host of the registry; the node's default when empty."""
    registry_secret: OptionalIdentifier = ""
    """Secret that holds the registry's credentials (a Docker ``config.json``)."""
    pull: PullPolicy = PullPolicy.IF_NOT_PRESENT


class VolumeKind(StrEnum):
    """What a volume's `source` names."""

    HOST = "host"
    """A folder of the node."""
    PERSISTENT = "persistent"
    """A volume by name, which outlives the job."""
    OBJECT = "object"
    """A prefix in an object store (``s3://bucket/prefix``)."""
    TEMPORARY = "temporary"
    """A fresh folder that goes with the task; `source` is empty."""


class VolumeMount(Model):
    """Files from elsewhere, below a path of the job's own."""

    kind: VolumeKind = VolumeKind.HOST
    source: Annotated[str, StringConstraints(max_length=4096)] = ""
    target: AbsolutePath
    read_only: bool = False
    size_bytes: int = Field(default=0, ge=0, le=1 << 55)
    """Most it may hold; no limit when 0."""

    @model_validator(mode="after")
    def _source_fits(self) -> VolumeMount:
        if (self.kind is VolumeKind.TEMPORARY) == bool(self.source):
            raise ValueError("source is needed for every kind of volume but 'temporary', which has none")
        if self.kind is VolumeKind.HOST and not self.source.startswith("/"):
            raise ValueError("source of a host volume is an absolute path on the node, such as /data")
        return self


class SELinuxOptions(Model):
    """A SELinux label; parts left empty are the node's default."""

    user: ProfileName = ""
    role: ProfileName = ""
    type: ProfileName = ""
    level: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.,:_-]{0,200}$")] = ""


class NetworkAccess(StrEnum):
    """Whom a job's processes may talk to."""

    INTERNET = "internet"
    """Anyone."""
    CLUSTER = "cluster"
    """The cluster's own network only."""
    PROJECT = "project"
    """Jobs and services of its project only."""
    NONE = "none"
    """Nobody but the loopback interface."""


class JobSecurity(Model):
    """As whom and with which privileges a job's processes run."""

    run_as_user: UserId | None = None
    """Numeric user; the agent's own when left out."""
    run_as_group: UserId | None = None
    supplemental_groups: tuple[UserId, ...] = Field(default=(), max_length=64)
    run_as_non_root: bool = False
    """Refuse to start as root."""
    allow_privilege_escalation: bool = False
    """Whether set-user-id programs gain privileges (the opposite of ``no_new_privs``)."""
    read_only_root: bool = False
    """Only its own folder and volumes are writable."""
    capabilities_add: tuple[Capability, ...] = Field(default=(), max_length=64)
    capabilities_drop: tuple[Capability, ...] = Field(default=(), max_length=64)
    selinux: SELinuxOptions | None = None
    apparmor_profile: ProfileName = ""
    seccomp_profile: ProfileName = ""
    network: NetworkAccess = NetworkAccess.INTERNET
    allowed_namespaces: tuple[Identifier, ...] = Field(default=(), max_length=64)
    """Namespaces of the cluster it may reach; all when empty."""

    @model_validator(mode="after")
    def _consistent(self) -> JobSecurity:
        if self.run_as_non_root and self.run_as_user == 0:
            raise ValueError(
                "run_as_non_root is set and run_as_user is 0 (root); give another user or drop one of them"
            )
        both = sorted(set(self.capabilities_add) & set(self.capabilities_drop))
        if both:
            raise ValueError(f"{both[0]} is both added and dropped; keep it in one of the two lists")
        if self.network is NetworkAccess.NONE and self.allowed_namespaces:
            raise ValueError("allowed_namespaces needs network access; drop it, or set network to 'cluster'")
        return self
