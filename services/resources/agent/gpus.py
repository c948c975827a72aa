"""GPUs as NVIDIA's driver describes them (NVML, by nvidia-ml-py). No driver means no GPUs, never an error.

A driver answers "not supported" to much of what may be asked of a given model; what it does not say is left out.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from events.language.jobs.spec_placement import GPUInterconnect
from events.language.resources.hardware import GPUHealth, GPUPeer, GPUResource, GPUState, MigInstance

log = logging.getLogger("forgelog.agent.gpus")

T = TypeVar("T")

_MIG_PROFILE = re.compile(r"MIG (\d+g\.\d+gb)")
_LINK_GBPS = {1: 160.0, 2: 200.0, 3: 206.0, 4: 200.0, 5: 200.0, 6: 200.0, 7: 400.0}
"""Gigabit per second one way of one link, by `nvmlNvlinkVersion_t`: 1.0, 2.0, 2.2, 3.0, 3.1, 4.0, 5.0."""

_CORES = {
    "7.0": (64, 8),
    "7.2": (64, 8),
    "7.5": (64, 8),
    "8.0": (64, 4),
    "8.6": (128, 4),
    "8.7": (128, 4),
    "8.9": (128, 4),
    "9.0": (128, 4),
    "10.0": (128, 4),
    "10.3": (128, 4),
    "12.0": (128, 4),
    "12.1": (128, 4),
}
"""CUDA cores and tensor cores of a multiprocessor by compute capability, as NVIDIA's white papers of the architectures
from Volta to Blackwell have them. The driver tells of the first only."""
_WITHOUT_TENSOR_CORES = re.compile(r"GTX 16|\bMX4|\bT[456]00\b|\bT1[02]00\b")
"""Names of cards of Turing that have none."""

_P2P_READ, _P2P_NVLINK = 0, 2
"""`nvmlGpuP2PCapsIndex_t`. The library's own constant for the first is a tuple by a stray comma (seen in 13.615.71)."""


def find() -> tuple[GPUResource, ...]:
    """The machine's GPUs."""
    try:
        import pynvml
    except ImportError:
        return ()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        log.info("no NVIDIA GPUs: %s", error)
        return ()
    try:
        return describe(pynvml)
    finally:
        pynvml.nvmlShutdown()


def describe(nvml: Any, sys: Path = Path("/sys")) -> tuple[GPUResource, ...]:
    """What an initialised `pynvml` (or one that replays its answers) tells."""
    return Driver(nvml, sys).gpus()


def tensor_cores(name: str, capability: str, cuda_cores: int | None) -> int | None:
    """Of all multiprocessors; None of an architecture that is not known here."""
    if cuda_cores is None or not capability:
        return None
    if int(capability.split(".")[0]) < 7 or _WITHOUT_TENSOR_CORES.search(name):
        return 0
    if (each := _CORES.get(capability)) is None:
        return None
    return cuda_cores // each[0] * each[1]


class Driver:
    def __init__(self, nvml: Any, sys: Path) -> None:
        self._nvml = nvml
        self._sys = sys
        self._version = self._ask(nvml.nvmlSystemGetDriverVersion) or ""
        cuda = self._ask(nvml.nvmlSystemGetCudaDriverVersion_v2)
        self._cuda = f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else ""

    def _ask(self, call: Callable[..., T], *args: Any) -> T | None:
        try:
            return call(*args)
        except self._nvml.NVMLError:
            return None

    def gpus(self) -> tuple[GPUResource, ...]:
        nvml = self._nvml
        handles: dict[int, Any] = {}
        for index in range(self._ask(nvml.nvmlDeviceGetCount) or 0):
            handle = self._ask(nvml.nvmlDeviceGetHandleByIndex, index)
            if handle is None:
                log.error("GPU %d does not answer (fallen off the bus?); the node goes without it", index)
            else:
                handles[index] = handle
        return tuple(self._gpu(index, handle, handles) for index, handle in handles.items())

    def _gpu(self, index: int, handle: Any, handles: dict[int, Any]) -> GPUResource:
        nvml, ask = self._nvml, self._ask
        memory = ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        bus = self._bus(handle)
        capability = ".".join(map(str, ask(nvml.nvmlDeviceGetCudaComputeCapability, handle) or ()))
        name, cores = ask(nvml.nvmlDeviceGetName, handle) or "", ask(nvml.nvmlDeviceGetNumGpuCores, handle)
        limit = ask(nvml.nvmlDeviceGetPowerManagementLimit, handle)
        mig = ask(nvml.nvmlDeviceGetMigMode, handle)
        return GPUResource(
            index=index,
            uuid=ask(nvml.nvmlDeviceGetUUID, handle) or "",
            name=name,
            memory_bytes=memory.total if memory is not None else 0,
            vendor="NVIDIA",
            pci_bus_id=bus,
            numa_node=self._numa_node(handle, bus),
            compute_capability=capability,
            cuda_cores=cores,
            tensor_cores=tensor_cores(name, capability, cores),
            driver_version=self._version,
            cuda_version=self._cuda,
            power_limit_watts=limit / 1000 if limit is not None else None,
            mig_supported=mig is not None,
            mig_enabled=bool(mig and mig[0] == nvml.NVML_DEVICE_MIG_ENABLE),
            mig_instances=tuple(self._mig_instances(handle)) if mig and mig[0] else (),
            peers=tuple(self._peers(index, handle, handles)),
            health=self._health(handle),
            state=self._state(handle, memory.used if memory is not None else None),
        )

    def _bus(self, handle: Any) -> str:
        info = self._ask(self._nvml.nvmlDeviceGetPciInfo, handle)
        if info is None:
            return ""
        return info.busId.decode() if isinstance(info.busId, bytes) else str(info.busId)

    def _numa_node(self, handle: Any, bus: str) -> int | None:
        node = self._ask(self._nvml.nvmlDeviceGetNumaNodeId, handle)
        if node is None and bus:
            # Only coherent platforms (Grace) answer that; elsewhere the kernel knows the bus's node.
            path = self._sys / "bus/pci/devices" / bus[-12:].lower() / "numa_node"
            node = int(path.read_text()) if path.exists() else None
        return node if node is not None and node >= 0 else None

    def _mig_instances(self, handle: Any) -> Iterable[MigInstance]:
        nvml, ask = self._nvml, self._ask
        for number in range(ask(nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
            instance = ask(nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, number)
            if instance is None:
                continue  # a slot without an instance
            profile = _MIG_PROFILE.search(ask(nvml.nvmlDeviceGetName, instance) or "")
            memory = ask(nvml.nvmlDeviceGetMemoryInfo, instance)
            yield MigInstance(
                uuid=ask(nvml.nvmlDeviceGetUUID, instance) or "",
                profile=profile[1] if profile else "",
                memory_bytes=memory.total if memory is not None else 0,
            )

    def _peers(self, index: int, handle: Any, handles: dict[int, Any]) -> Iterable[GPUPeer]:
        nvml, ask = self._nvml, self._ask
        by_bus = {self._bus(other): number for number, other in handles.items() if number != index}
        direct: dict[int, int] = {}
        switched = 0
        gbps = None
        for link in range(nvml.NVML_NVLINK_MAX_LINKS):
            if ask(nvml.nvmlDeviceGetNvLinkState, handle, link) != nvml.NVML_FEATURE_ENABLED:
                continue
            gbps = _LINK_GBPS.get(ask(nvml.nvmlDeviceGetNvLinkVersion, handle, link) or 0, gbps)
            if ask(nvml.nvmlDeviceGetNvLinkRemoteDeviceType, handle, link) == nvml.NVML_NVLINK_DEVICE_TYPE_SWITCH:
                switched += 1
                continue
            remote = ask(nvml.nvmlDeviceGetNvLinkRemotePciInfo, handle, link)
            if remote is not None:
                bus = remote.busId.decode() if isinstance(remote.busId, bytes) else str(remote.busId)
                if bus in by_bus:
                    direct[by_bus[bus]] = direct.get(by_bus[bus], 0) + 1
        for number, other in handles.items():
            if number == index:
                continue
            links, kind = direct.get(number, 0), GPUInterconnect.NVLINK
            if not links and switched and self._linked(handle, other):
                links, kind = switched, GPUInterconnect.NVSWITCH
            if links:
                bandwidth = gbps * links if gbps else None
                yield GPUPeer(index=number, interconnect=kind, links=links, bandwidth_gbps=bandwidth)
            elif self._reach(handle, other, _P2P_READ):
                yield GPUPeer(index=number, interconnect=GPUInterconnect.PCIE)

    def _linked(self, handle: Any, other: Any) -> bool:
        return self._reach(handle, other, _P2P_NVLINK)

    def _reach(self, handle: Any, other: Any, how: int) -> bool:
        nvml = self._nvml
        return bool(self._ask(nvml.nvmlDeviceGetP2PStatus, handle, other, how) == nvml.NVML_P2P_STATUS_OK)

    def _health(self, handle: Any) -> GPUHealth:
        nvml, ask = self._nvml, self._ask
        uncorrected = self._ecc(handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED)
        rows = ask(nvml.nvmlDeviceGetRemappedRows, handle)  # corrected, uncorrected, pending, failed
        if uncorrected or (rows and rows[3]):
            return GPUHealth.UNHEALTHY
        slowed = ask(nvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
        hot = nvml.nvmlClocksEventReasonHwThermalSlowdown | nvml.nvmlClocksEventReasonHwPowerBrakeSlowdown
        if (rows and rows[2]) or (slowed is not None and slowed & hot):
            return GPUHealth.DEGRADED
        return GPUHealth.UNKNOWN if uncorrected is None and rows is None else GPUHealth.HEALTHY

    def _ecc(self, handle: Any, kind: int) -> int | None:
        return self._ask(self._nvml.nvmlDeviceGetTotalEccErrors, handle, kind, self._nvml.NVML_VOLATILE_ECC)

    def _state(self, handle: Any, memory_used: int | None) -> GPUState:
        nvml, ask = self._nvml, self._ask
        power = ask(nvml.nvmlDeviceGetPowerUsage, handle)
        busy = ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        return GPUState(
            temperature_celsius=ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            power_watts=power / 1000 if power is not None else None,
            utilization_percent=busy.gpu if busy is not None else None,
            memory_used_bytes=memory_used,
            ecc_corrected_errors=self._ecc(handle, nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED),
            ecc_uncorrected_errors=self._ecc(handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED),
            pcie_replay_errors=ask(nvml.nvmlDeviceGetPcieReplayCounter, handle),
        )
