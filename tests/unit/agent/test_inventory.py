"""What the agent says of a machine: of one that was written down, and of the one the tests run on."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from events.language.jobs.spec_placement import NetworkType
from events.language.resources.hardware import (
    CPUPlace,
    GPUHealth,
    GPUResource,
    HugePages,
    NetworkCounters,
    NodeSpec,
    NumaNode,
    PCIeDevice,
    StorageMedium,
)
from services.resources.agent import inventory, sysfs
from services.resources.agent.config import Config

CPUINFO = "".join(
    f"processor\t: {cpu}\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Platinum 8480+\n"
    f"physical id\t: {cpu % 2}\ncore id\t\t: {cpu // 2 % 2}\nflags\t\t: fpu avx512f amx_tile\n\n"
    for cpu in range(8)
)
"""Two sockets with two cores with two threads, as proc_cpuinfo(5) has it."""

FILES = {
    "proc/cpuinfo": CPUINFO,
    "proc/self/cgroup": "0::/agents/one\n",
    "sys/fs/cgroup/agents/one/memory.max": "1073741824\n",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_min_freq": "800000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "3800000\n",
    "sys/devices/system/cpu/cpu0/cache/index0/level": "1\n",
    "sys/devices/system/cpu/cpu0/cache/index0/type": "Data\n",
    "sys/devices/system/cpu/cpu0/cache/index0/size": "48K\n",
    "sys/devices/system/cpu/cpu0/cache/index1/level": "1\n",
    "sys/devices/system/cpu/cpu0/cache/index1/type": "Instruction\n",
    "sys/devices/system/cpu/cpu0/cache/index1/size": "32K\n",
    "sys/devices/system/cpu/cpu0/cache/index2/level": "2\n",
    "sys/devices/system/cpu/cpu0/cache/index2/type": "Unified\n",
    "sys/devices/system/cpu/cpu0/cache/index2/size": "2M\n",
    "sys/devices/system/cpu/vulnerabilities/spectre_v2": "Mitigation: Enhanced IBRS\n",
    "sys/devices/system/cpu/cpu0/topology/core_id": "0\n",
    "sys/devices/system/cpu/cpu0/topology/physical_package_id": "0\n",
    "sys/devices/system/cpu/cpu1/topology/core_id": "0\n",
    "sys/devices/system/cpu/cpu1/topology/physical_package_id": "1\n",
    "sys/devices/system/node/node0/cpulist": "0,2-3\n",
    "sys/devices/system/node/node0/distance": "10 21\n",
    "sys/devices/system/node/node0/meminfo": "Node 0 MemTotal:       16384 kB\nNode 0 MemFree: 1 kB\n",
    "sys/devices/system/node/node1/cpulist": "1\n",
    "sys/devices/system/node/node1/distance": "21 10\n",
    "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "64\n",
    "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": "60\n",
    "sys/devices/pci0000:00/0000:00:01.0/class": "0x060400\n",
    "sys/devices/pci0000:00/0000:00:01.0/numa_node": "-1\n",
    "sys/devices/pci0000:00/0000:00:01.0/0000:18:00.0/class": "0x030200\n",
    "sys/devices/pci0000:00/0000:00:01.0/0000:18:00.0/numa_node": "1\n",
    "sys/class/net/eth0/type": "1\n",
    "sys/class/net/eth0/address": "aa:bb:cc:dd:ee:ff\n",
    "sys/class/net/eth0/speed": "100000\n",
    "sys/class/net/eth0/mtu": "9000\n",
    "sys/class/net/eth0/operstate": "up\n",
    "sys/class/net/eth0/statistics/rx_bytes": "5\n",
    "sys/class/net/eth0/device/numa_node": "0\n",
    "sys/class/net/eth0/device/sriov_totalvfs": "8\n",
    "sys/class/net/eth0/device/infiniband/mlx5_0/port": "1\n",
    "sys/class/net/ib0/type": "32\n",
    "sys/class/net/ib0/operstate": "down\n",
    "sys/class/net/ib0/speed": "-1\n",
    "sys/class/block/sda/queue/rotational": "1\n",
    "sys/class/block/sdb/queue/rotational": "0\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    pci = tmp_path / "root/sys/bus/pci/devices"
    pci.mkdir(parents=True)
    bridge = Path("../../../devices/pci0000:00/0000:00:01.0")
    (pci / "0000:00:01.0").symlink_to(bridge)
    (pci / "0000:18:00.0").symlink_to(bridge / "0000:18:00.0")
    return tmp_path / "root"


def test_cpus(root: Path) -> None:
    cpu = sysfs.cpu(root, "x86_64", 8)
    assert (cpu.vendor, cpu.model) == ("GenuineIntel", "Intel(R) Xeon(R) Platinum 8480+")
    assert (cpu.sockets, cpu.cores, cpu.threads, cpu.min_mhz, cpu.max_mhz) == (2, 4, 8, 800.0, 3800.0)
    assert (cpu.l1d_cache_bytes, cpu.l2_cache_bytes, cpu.l3_cache_bytes) == (48 << 10, 2 << 20, None)
    assert cpu.flags == ("fpu", "avx512f", "amx_tile")
    assert cpu.vulnerabilities == {"spectre_v2": "Mitigation: Enhanced IBRS"}


def test_how_things_hang_together(root: Path) -> None:
    topology = sysfs.topology(root)
    assert topology.numa_nodes == (
        NumaNode(index=0, cpus="0,2-3", memory_bytes=16 << 20, distances=(10, 21)),
        NumaNode(index=1, cpus="1", distances=(21, 10)),
    )
    assert topology.cpus == (
        CPUPlace(cpu=0, core=0, socket=0, numa_node=0),
        CPUPlace(cpu=1, core=0, socket=1, numa_node=1),
    )
    assert topology.pcie == (
        PCIeDevice(address="0000:00:01.0", kind="pcie bridge"),
        PCIeDevice(address="0000:18:00.0", parent="0000:00:01.0", kind="3d controller", numa_node=1),
    )


def test_networks(root: Path) -> None:
    eth, infiniband = sysfs.network(root, {"eth0": ("10.0.0.7", "fe80::1")})
    assert (eth.name, eth.type, eth.mac_address, eth.speed_mbps, eth.mtu) == (
        "eth0",
        NetworkType.ROCE,
        "aa:bb:cc:dd:ee:ff",
        100_000,
        9000,
    )
    assert (eth.up, eth.rdma, eth.sriov, eth.numa_node) == (True, True, True, 0)
    assert (eth.addresses, eth.counters) == (("10.0.0.7", "fe80::1"), NetworkCounters(rx_bytes=5))
    assert (infiniband.type, infiniband.up, infiniband.speed_mbps) == (NetworkType.INFINIBAND, False, None)


@pytest.mark.parametrize(
    ("device", "filesystem", "medium"),
    [
        ("/dev/sda", "ext4", StorageMedium.HDD),
        ("/dev/sdb", "xfs", StorageMedium.SSD),
        ("/dev/nvme0n1p1", "ext4", StorageMedium.NVME),
        ("server:/data", "nfs4", StorageMedium.NETWORK),
        ("tmpfs", "tmpfs", StorageMedium.MEMORY),
        ("/dev/unheard-of", "ext4", StorageMedium.UNKNOWN),
    ],
)
def test_what_a_file_system_lies_on(root: Path, device: str, filesystem: str, medium: StorageMedium) -> None:
    assert sysfs.medium(root, device, filesystem) is medium


def test_huge_pages_and_memory_limit(root: Path) -> None:
    assert sysfs.huge_pages(root) == (HugePages(page_bytes=2 << 20, total=64, free=60),)
    assert inventory.memory_limit(root, 64 << 30) == 1 << 30
    (root / "sys/fs/cgroup/agents/one/memory.max").write_text("max\n")
    assert inventory.memory_limit(root, 64 << 30) == 64 << 30


def test_an_empty_machine_has_no_errors(tmp_path: Path) -> None:
    assert sysfs.cpu(tmp_path, "riscv64", 3).threads == 3
    assert sysfs.topology(tmp_path).numa_nodes == ()
    assert sysfs.network(tmp_path, {}) == ()
    assert sysfs.huge_pages(tmp_path) == ()


def gpu(index: int, health: GPUHealth = GPUHealth.HEALTHY) -> GPUResource:
    return GPUResource(
        index=index,
        uuid=f"GPU-{index}",
        name="NVIDIA H100 80GB HBM3",
        memory_bytes=80 << 30,
        driver_version="580.65.06",
        compute_capability="9.0",
        health=health,
    )


def plain(tmp_path: Path) -> Config:
    return Config(node="n1", folder=tmp_path, secrets=tmp_path)


def test_this_machine(tmp_path: Path) -> None:
    spec = inventory.describe(plain(tmp_path))
    assert spec.capacity.cpus == len(os.sched_getaffinity(0))
    assert 0 < spec.capacity.memory_bytes <= psutil.virtual_memory().total
    assert spec.capacity.storage_bytes > 0
    assert (spec.capacity.gpus, spec.gpus) == (0, ())
    assert spec.labels["hostname"] == "n1"
    assert spec.system is not None
    assert spec.system.kernel == os.uname().release
    own = spec.storage[0].mount_point
    assert os.stat(own).st_dev == os.stat(tmp_path).st_dev
    assert NodeSpec.model_validate_json(spec.model_dump_json()) == spec


def test_broken_gpus_are_listed_and_not_offered(tmp_path: Path) -> None:
    spec = inventory.describe(plain(tmp_path), [gpu(0), gpu(1, GPUHealth.UNHEALTHY)])
    assert (spec.capacity.gpus, len(spec.gpus)) == (1, 2)
    assert spec.labels["gpu.model"] == "NVIDIA-H100-80GB-HBM3"
    assert (spec.labels["gpu.driver"], spec.labels["gpu.capability"]) == ("580.65.06", "9.0")


def test_several_agents_can_share_a_machine(tmp_path: Path) -> None:
    config = replace(
        plain(tmp_path),
        cpus=0.5,
        memory_bytes=1 << 30,
        network_mbps=100,
        gpus=frozenset({1}),
        labels={"zone": "a", "arch": "mine"},
        taints=("gpu",),
    )
    spec = inventory.describe(config, [gpu(0), gpu(1)])
    assert (spec.capacity.cpus, spec.capacity.memory_bytes, spec.capacity.network_mbps) == (0.5, 1 << 30, 100)
    assert [one.index for one in spec.gpus] == [1]
    assert (spec.labels["zone"], spec.labels["arch"], spec.taints) == ("a", "mine", ("gpu",))
    assert spec.location is not None
    assert spec.location.zone == "a"


@pytest.mark.parametrize(
    ("threads", "parts", "shares"),
    [(4, 1, [4.0]), (5, 2, [3.0, 2.0]), (4, 4, [1.0] * 4), (2, 3, [0.66, 0.66, 0.66]), (1, 8, [0.12] * 8)],
)
def test_agents_that_share_a_machine_offer_no_more_than_it_has(threads: int, parts: int, shares: list[float]) -> None:
    assert [inventory.share_of_cpus(threads, number, parts) for number in range(parts)] == shares
    assert sum(shares) <= threads


def test_a_share_is_a_part_of_all_that_the_machine_has(tmp_path: Path) -> None:
    gpus = [gpu(index) for index in range(5)]
    whole = inventory.describe(plain(tmp_path), gpus).capacity
    parts = [inventory.describe(replace(plain(tmp_path), share=(number, 2)), gpus) for number in range(2)]
    assert [[one.index for one in part.gpus] for part in parts] == [[0, 2, 4], [1, 3]]
    assert sum(part.capacity.cpus for part in parts) <= whole.cpus
    assert parts[0].capacity.memory_bytes == whole.memory_bytes // 2


def test_what_is_given_is_not_shared(tmp_path: Path) -> None:
    given = replace(plain(tmp_path), share=(1, 2), cpus=8.0, memory_bytes=1 << 30, gpus=frozenset({0}))
    spec = inventory.describe(given, [gpu(0), gpu(1)])
    assert (spec.capacity.cpus, spec.capacity.memory_bytes, spec.capacity.gpus) == (8.0, 1 << 30, 1)
