"""What becomes of a driver's answers. Replayed from `nvml.json`, which says where each one's form comes from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from events.language.jobs.spec_placement import GPUInterconnect
from events.language.resources.hardware import GPUHealth, GPUPeer, GPUResource, GPUState
from services.resources.agent import gpus

RECORDED = json.loads((Path(__file__).parent / "nvml.json").read_text())
A100, H100, RTX, RECORDED_H100 = RECORDED["machines"]
GIB = 1 << 30


class Replay:
    """Answers as `pynvml` would on that machine; its constants and exceptions are pynvml's own."""

    def __init__(self, machine: str) -> None:
        self._answers: dict[str, dict[str, Any]] = RECORDED["machines"][machine]

    def __getattr__(self, name: str) -> Any:
        real = getattr(pynvml, name)  # a call that the library does not have is a mistake, not an unsupported feature
        return self._call(name) if name.startswith("nvml") and callable(real) else real

    def _call(self, name: str) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            answer = self._answers.get(name, {}).get(",".join(map(str, args)), {"error": "NVMLError_NotSupported"})
            if not isinstance(answer, dict):
                return tuple(answer) if isinstance(answer, list) else answer
            if "error" in answer:
                raise getattr(pynvml, answer["error"])
            return answer["handle"] if "handle" in answer else SimpleNamespace(**answer)

        return call


def machine(name: str, sys: Path = Path("/nowhere")) -> dict[int, GPUResource]:
    return {gpu.index: gpu for gpu in gpus.describe(Replay(name), sys)}


def test_every_recorded_call_says_where_its_form_comes_from() -> None:
    calls = {call for answers in RECORDED["machines"].values() for call in answers}
    assert calls - set(RECORDED["sources"]) == {"nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"}
    assert all(hasattr(pynvml, call) for call in calls)


def test_what_a_gpu_is() -> None:
    gpu = machine(A100)[0]
    assert (gpu.name, gpu.vendor, gpu.memory_bytes) == ("NVIDIA A100-SXM4-80GB", "NVIDIA", 80 * GIB)
    assert gpu.uuid.startswith("GPU-")
    assert (gpu.pci_bus_id, gpu.compute_capability) == ("00000000:01:00.0", "8.0")
    assert (gpu.cuda_cores, gpu.tensor_cores) == (6912, 432)
    assert (gpu.driver_version, gpu.cuda_version, gpu.power_limit_watts) == ("550.90.07", "12.4", 400.0)
    assert (gpu.health, gpu.mig_supported, gpu.mig_enabled) == (GPUHealth.HEALTHY, True, False)
    state = gpu.state
    assert state is not None
    assert (state.temperature_celsius, state.power_watts, state.memory_used_bytes) == (34, 61.25, GIB)
    assert (state.utilization_percent, state.ecc_corrected_errors, state.ecc_uncorrected_errors) == (0, 0, 0)


def test_nvlink_between_gpus() -> None:
    peers = machine(A100)[0].peers
    assert peers == tuple(
        GPUPeer(index=index, interconnect=GPUInterconnect.NVLINK, links=4, bandwidth_gbps=800.0) for index in (1, 2, 3)
    )


def test_a_gpu_that_is_split_reaches_no_other() -> None:
    gpu = machine(A100)[1]
    assert gpu.mig_enabled
    assert [(one.profile, one.memory_bytes) for one in gpu.mig_instances] == [
        ("3g.40gb", 42_406_903_808),
        ("1g.10gb", 10_200_547_328),
    ]
    assert all(one.uuid.startswith("MIG-") for one in gpu.mig_instances)
    assert gpu.peers == ()
    assert gpu.state is not None
    assert gpu.state.utilization_percent is None


def test_uncorrected_errors_make_a_gpu_unhealthy_and_heat_degrades_it() -> None:
    found = machine(A100)
    assert (found[2].health, found[3].health) == (GPUHealth.UNHEALTHY, GPUHealth.DEGRADED)
    assert found[2].state is not None
    assert (found[2].state.ecc_corrected_errors, found[2].state.ecc_uncorrected_errors) == (3, 2)


def test_nvswitch_is_all_to_all() -> None:
    peer = machine(H100)[0].peers
    assert peer == (GPUPeer(index=1, interconnect=GPUInterconnect.NVSWITCH, links=18, bandwidth_gbps=3600.0),)


def test_a_gpu_that_fell_off_the_bus_is_left_out() -> None:
    assert sorted(machine(H100)) == [0, 1]


def test_what_a_driver_does_not_say_is_left_out() -> None:
    gpu = machine(RTX)[0]
    assert (gpu.health, gpu.mig_supported, gpu.power_limit_watts) == (GPUHealth.UNKNOWN, False, None)
    assert gpu.peers == (GPUPeer(index=1, interconnect=GPUInterconnect.PCIE),)


def test_what_a_real_driver_answered() -> None:
    (gpu,) = machine(RECORDED_H100).values()
    assert gpu == GPUResource(
        index=0,
        uuid="GPU-00000000-0000-0000-0000-000000000000",
        name="NVIDIA H100 80GB HBM3",
        vendor="NVIDIA",
        memory_bytes=85_520_809_984,
        pci_bus_id="00000000:00:06.0",
        compute_capability="9.0",
        cuda_cores=16896,
        tensor_cores=528,
        driver_version="580.159.04",
        cuda_version="13.0",
        power_limit_watts=700.0,
        mig_supported=True,
        health=GPUHealth.HEALTHY,
        state=GPUState(
            temperature_celsius=31.0,
            power_watts=67.516,
            utilization_percent=0.0,
            memory_used_bytes=503_316_480,
            ecc_corrected_errors=0,
            ecc_uncorrected_errors=0,
            pcie_replay_errors=0,
        ),
    )


@pytest.mark.parametrize(("said", "numa"), [("1\n", 1), ("-1\n", None)])
def test_the_kernel_knows_a_gpu_s_numa_node(tmp_path: Path, said: str, numa: int | None) -> None:
    device = tmp_path / "bus/pci/devices/0000:c2:00.0"
    device.mkdir(parents=True)
    (device / "numa_node").write_text(said)
    found = machine(A100, tmp_path)
    assert (found[3].numa_node, found[0].numa_node) == (numa, None)


def test_a_machine_without_a_driver_has_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library() -> None:
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(pynvml, "nvmlInit", no_library)
    assert gpus.find() == ()


@pytest.mark.parametrize(
    ("name", "capability", "cuda_cores", "tensor_cores"),
    [
        ("Tesla V100-SXM2-32GB", "7.0", 5120, 640),
        ("Tesla T4", "7.5", 2560, 320),
        ("NVIDIA GeForce GTX 1660 Ti", "7.5", 1536, 0),
        ("NVIDIA GeForce RTX 4090", "8.9", 16384, 512),
        ("NVIDIA H200", "9.0", 16896, 528),
        ("Tesla P100-PCIE-16GB", "6.0", 3584, 0),
        ("NVIDIA of tomorrow", "13.0", 16384, None),
        ("NVIDIA H200", "9.0", None, None),
    ],
)
def test_tensor_cores_follow_from_the_architecture(
    name: str, capability: str, cuda_cores: int | None, tensor_cores: int | None
) -> None:
    assert gpus.tensor_cores(name, capability, cuda_cores) == tensor_cores
