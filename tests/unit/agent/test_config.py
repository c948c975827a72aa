"""What an agent may be told, and how it says that it can't use it."""

from __future__ import annotations

from pathlib import Path

import pytest

from events.language.resources.hardware import NodeRole
from events.process.settings import Settings, SettingsError
from services.resources.agent import config


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path)


def test_nothing_needs_to_be_said(settings: Settings, tmp_path: Path) -> None:
    read = config.load(settings, {})
    assert read.folder == tmp_path / "agents" / read.node
    assert read.secrets == read.folder / "secrets"
    assert (read.role, read.drain, read.cpus, read.gpus, read.labels, read.taints) == (
        NodeRole.COMPUTE,
        False,
        None,
        None,
        {},
        (),
    )
    assert (read.lost_seconds, read.heartbeat_seconds, read.fence_seconds) == (15.0, 3.0, 12.0)


def test_everything_can_be_said(settings: Settings) -> None:
    read = config.load(
        settings,
        {
            "FORGELOG_NODE": "gpu-7",
            "FORGELOG_AGENT_DIR": "/var/lib/agent",
            "FORGELOG_AGENT_SECRETS": "/etc/secrets",
            "FORGELOG_AGENT_STOP": "drain",
            "FORGELOG_NODE_LOST_SECONDS": "5",
            "FORGELOG_NODE_ROLE": "inference",
            "FORGELOG_NODE_CPUS": "1.5",
            "FORGELOG_NODE_MEMORY": "2GiB",
            "FORGELOG_NODE_NETWORK_MBPS": "1000",
            "FORGELOG_NODE_GPUS": "0,2",
            "FORGELOG_NODE_SHARE": "1/3",
            "FORGELOG_NODE_STORAGE_SECONDS": "1.5",
            "FORGELOG_NODE_ADDRESS": "10.0.0.7",
            "FORGELOG_NODE_PORTS": "21000-21999",
            "FORGELOG_NODE_LABELS": "zone=a, disk=ssd",
            "FORGELOG_NODE_TAINTS": "gpu, maintenance",
        },
    )
    assert read == config.Config(
        node="gpu-7",
        folder=Path("/var/lib/agent"),
        secrets=Path("/etc/secrets"),
        lost_seconds=5.0,
        storage_seconds=1.5,
        drain=True,
        role=NodeRole.INFERENCE,
        cpus=1.5,
        memory_bytes=2 << 30,
        network_mbps=1000,
        gpus=frozenset({0, 2}),
        share=(1, 3),
        address="10.0.0.7",
        ports=range(21_000, 22_000),
        labels={"zone": "a", "disk": "ssd"},
        taints=("gpu", "maintenance"),
    )
    assert read.fence_seconds == 4.0


def test_agents_of_one_machine_share_its_ports(settings: Settings) -> None:
    def ports(share: str, given: str = "20000-20009") -> range:
        return config.load(settings, {"FORGELOG_NODE_SHARE": share, "FORGELOG_NODE_PORTS": given}).own_ports

    assert [ports(share) for share in ("0/2", "1/2")] == [range(20_000, 20_005), range(20_005, 20_010)]
    assert [ports(share) for share in ("0/1", "2/3")] == [range(20_000, 20_010), range(20_006, 20_009)]
    assert ports("1/2", "20000-20000") == range(20_000, 20_001), "too few for each"


@pytest.mark.parametrize(
    ("text", "size"), [("1024", 1024), ("1k", 1024), ("1.5 MB", 3 << 19), ("3Ti", 3 << 40), ("16GiB", 16 << 30)]
)
def test_amounts_of_memory(settings: Settings, text: str, size: int) -> None:
    assert config.load(settings, {"FORGELOG_NODE_MEMORY": text}).memory_bytes == size


def test_no_gpus_can_be_offered(settings: Settings) -> None:
    assert config.load(settings, {"FORGELOG_NODE_GPUS": "none"}).gpus == frozenset()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FORGELOG_NODE", "Not A Name"),
        ("FORGELOG_AGENT_STOP", "perhaps"),
        ("FORGELOG_NODE_LOST_SECONDS", "soon"),
        ("FORGELOG_NODE_LOST_SECONDS", "0"),
        ("FORGELOG_NODE_ROLE", "boss"),
        ("FORGELOG_NODE_CPUS", "-1"),
        ("FORGELOG_NODE_CPUS", "nan"),
        ("FORGELOG_NODE_MEMORY", "much"),
        ("FORGELOG_NODE_GPUS", "0;1"),
        ("FORGELOG_NODE_SHARE", "2/2"),
        ("FORGELOG_NODE_SHARE", "half"),
        ("FORGELOG_NODE_ADDRESS", "0.0.0.0"),
        ("FORGELOG_NODE_ADDRESS", "10.0.0.7:80"),
        ("FORGELOG_NODE_PORTS", "20000"),
        ("FORGELOG_NODE_PORTS", "80-90"),
        ("FORGELOG_NODE_PORTS", "30000-29999"),
        ("FORGELOG_NODE_PORTS", "20000-70000"),
        ("FORGELOG_NODE_LABELS", "zone"),
        ("FORGELOG_NODE_LABELS", "zone=not a value"),
        ("FORGELOG_NODE_LABELS", "-=a"),
        ("FORGELOG_NODE_TAINTS", "No Taint"),
    ],
)
def test_a_variable_that_can_t_be_used_is_named(settings: Settings, variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        config.load(settings, {variable: value})
