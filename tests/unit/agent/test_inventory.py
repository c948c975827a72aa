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
    MemoryType,
    NetworkCounters,
    NodeSpec,
    NumaNode,
    PCIeDevice,
    StorageMedium,
)
from services.resources.agent import disks, inventory, offloads, storage_speed, sysfs
from services.resources.agent.config import Config
from services.resources.agent.memory_types import memory_type

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
    eth, infiniband = sysfs.network(root, {"eth0": ("10.0.0.7", "fe80::1")}, lambda name: (f"tx-{name}",))
    assert (eth.name, eth.type, eth.mac_address, eth.speed_mbps, eth.mtu) == (
        "eth0",
        NetworkType.ROCE,
        "aa:bb:cc:dd:ee:ff",
        100_000,
        9000,
    )
    assert (eth.up, eth.rdma, eth.sriov, eth.numa_node) == (True, True, True, 0)
    assert (eth.addresses, eth.counters) == (("10.0.0.7", "fe80::1"), NetworkCounters(rx_bytes=5))
    assert (eth.offloads, infiniband.offloads) == (("tx-eth0",), ()), "the other one is no card's"
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
    assert disks.medium(device, filesystem, disks.stack(root, device)) is medium


def laid(root: Path, files: dict[str, str], slaves: dict[str, list[str]]) -> None:
    """Block devices with these files, each on these others."""
    blocks = root / "sys/class/block"
    for name, content in files.items():
        path = root / "sys/devices/virtual" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    blocks.mkdir(parents=True, exist_ok=True)
    for path in (root / "sys/devices/virtual").glob("*"):
        (blocks / path.name).symlink_to(path)
        for part in path.glob(f"{path.name}*"):
            (blocks / part.name).symlink_to(part)
    for name, below in slaves.items():
        (blocks / name / "slaves").mkdir()
        for each in below:
            (blocks / name / "slaves" / each).symlink_to(blocks / each)


def test_a_file_system_on_a_volume_on_a_raid_of_partitions(tmp_path: Path) -> None:
    laid(
        tmp_path,
        {
            "dm-1/dm/name": "vg-data\n",
            "dm-1/dm/uuid": "LVM-abc\n",
            "dm-1/stat": "  10 0 80 30 30 0 240 90 0 100 120\n",
            "dm-0/dm/name": "secret\n",
            "dm-0/dm/uuid": "CRYPT-LUKS2-0123-secret\n",
            "md0/md/level": "raid1\n",
            "sdx/sdx1/partition": "1\n",
            "sdx/queue/rotational": "0\n",
            "sdy/sdy1/partition": "1\n",
            "sdy/queue/rotational": "1\n",
        },
        {"dm-1": ["dm-0"], "dm-0": ["md0"], "md0": ["sdx1", "sdy1"]},
    )
    below = disks.stack(tmp_path, "/dev/mapper/vg-data")
    assert [path.name for path in below] == ["dm-1", "dm-0", "md0", "sdx1", "sdy1", "sdx", "sdy"]
    assert disks.medium("/dev/mapper/vg-data", "xfs", below) is StorageMedium.HDD
    assert (disks.is_encrypted(below), disks.raid_level(below), disks.is_deduplicated(below)) == (True, "raid1", False)
    assert disks.latency_microseconds(below) == 3000.0
    md = disks.stack(tmp_path, "/dev/md0")
    assert (disks.is_encrypted(md), disks.raid_level(md), disks.latency_microseconds(md)) == (False, "raid1", None)
    disk = disks.stack(tmp_path, "/dev/sdx1")
    assert (disks.medium("/dev/sdx1", "ext4", disk), disks.raid_level(disk)) == (StorageMedium.SSD, "")
    (tmp_path / "sys/devices/virtual/dm-0/dm/uuid").write_text("LVM-abcdef-vpool\n")
    assert disks.is_deduplicated(below)


@pytest.mark.parametrize(
    ("options", "compressed"),
    [
        ("rw,relatime,compress=zstd:3,ssd", True),
        ("rw,compress-force=lzo", True),
        ("rw,compress_algorithm=lz4,inline_data", True),
        ("rw,compression=none", False),
        ("rw,compress=no", False),
        ("rw,relatime", False),
    ],
)
def test_options_of_a_mount_say_whether_it_compresses(options: str, compressed: bool) -> None:
    assert disks.is_compressed(options) is compressed


def test_a_disk_is_measured_by_an_agent_that_is_told_to(tmp_path: Path) -> None:
    told = inventory.describe(replace(plain(tmp_path), storage_seconds=0.03)).storage[0]
    speeds = (told.read_iops, told.write_iops, told.read_bytes_per_second, told.write_bytes_per_second)
    assert all(speed is None or speed > 0 for speed in speeds)
    assert (None in speeds) == (speeds == (None,) * 4)
    assert inventory.describe(plain(tmp_path)).storage[0].read_iops is None
    assert list(tmp_path.iterdir()) == []
    assert storage_speed.measure(tmp_path / "nowhere", 0.01) is None


def test_temperatures(root: Path) -> None:
    for number, (name, degrees) in enumerate([("nvme", 90_000), ("coretemp", 61_000), ("coretemp", 64_500)]):
        folder = root / f"sys/class/hwmon/hwmon{number}"
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "temp1_input").write_text(f"{degrees}\n")
    assert sysfs.cpu_celsius(root) == 64.5


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Registered-DDR5\n", MemoryType.DDR5),
        ("Unbuffered-DDR4\n", MemoryType.DDR4),
        ("Low-Power-DDR4-RAM\n", MemoryType.UNKNOWN),
        ("High-bandwidth-memory-Gen3\n", MemoryType.HBM3),
    ],
)
def test_memory_as_its_controller_tells_of_it(tmp_path: Path, said: str, kind: MemoryType) -> None:
    path = tmp_path / "sys/devices/system/edac/mc/mc0/dimm0/dimm_mem_type"
    path.parent.mkdir(parents=True)
    path.write_text(said)
    assert memory_type(tmp_path) is kind


def structure(kind: int, fixed: bytes, texts: bytes = b"") -> bytes:
    return bytes([kind, 4 + len(fixed), 0, 0]) + fixed + texts + (b"\0" if texts else b"\0\0")


def test_memory_as_the_firmware_tells_of_it(tmp_path: Path) -> None:
    path = tmp_path / "sys/firmware/dmi/tables/DMI"
    path.parent.mkdir(parents=True)
    empty, module = (bytes(14) + bytes([kind]) + bytes(9) for kind in (0x02, 0x1A))
    path.write_bytes(
        structure(0, bytes(8), b"Maker\0v1\0")
        + structure(17, empty)
        + structure(17, module, b"DIMM A1\0")
        + structure(127, b"")
    )
    assert memory_type(tmp_path) is MemoryType.DDR4
    path.write_bytes(path.read_bytes()[:-40])
    assert memory_type(tmp_path) is MemoryType.UNKNOWN


def test_what_a_card_does_instead_of_the_cpu() -> None:
    assert offloads.offloads("no-such-card") == ()
    found = offloads.offloads("lo")  # none in a container that may not ask
    assert all(name.startswith(("rx-", "tx-")) for name in found)
    assert not {"rx-gro", "tx-generic-segmentation"} & set(found)


def test_huge_pages_and_memory_limit(root: Path) -> None:
    assert sysfs.huge_pages(root) == (HugePages(page_bytes=2 << 20, total=64, free=60),)
    assert inventory.memory_limit(root, 64 << 30) == 1 << 30
    (root / "sys/fs/cgroup/agents/one/memory.max").write_text("max\n")
    assert inventory.memory_limit(root, 64 << 30) == 64 << 30


def test_an_empty_machine_has_no_errors(tmp_path: Path) -> None:
    assert sysfs.cpu(tmp_path, "riscv64", 3).threads == 3
    assert sysfs.topology(tmp_path).numa_nodes == ()
    assert sysfs.network(tmp_path, {}, lambda _: ("tx-checksum",)) == ()
    assert (sysfs.cpu_celsius(tmp_path), memory_type(tmp_path)) == (None, MemoryType.UNKNOWN)
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
    assert spec.cpu is not None
    assert spec.cpu.state is not None
    assert spec.cpu.state.utilization_percent is not None
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
