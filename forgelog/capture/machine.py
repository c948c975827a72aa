"""The machine that a program runs on: processor, memory, GPUs, container."""

from __future__ import annotations

import os
import platform
import re
import socket
from pathlib import Path
from typing import Any

from events.language.experiments.capture import CapturedGPU, CapturedMachine
from forgelog.capture.secrets import printable, without_passwords

IMAGE = ("FORGELOG_IMAGE", "APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")
"""Variables that name the container's image. Docker and Kubernetes do not tell it: an image may set the first."""


def captured() -> CapturedMachine:
    image = _image()
    return CapturedMachine(
        host=printable(socket.gethostname()),
        system=printable(f"{platform.system()} {platform.release()}"),
        architecture=printable(platform.machine()),
        processor=_processor(),
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        memory_bytes=_memory(),
        gpus=gpus(),
        container=bool(image) or Path("/.dockerenv").exists() or "KUBERNETES_SERVICE_HOST" in os.environ,
        image=image,
    )


def _processor() -> str:
    try:
        described = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return printable(platform.processor())
    found = re.search(r"^model name\s*:\s*(.+)$", described, re.MULTILINE)
    return printable(found[1]) if found else printable(platform.processor())


def _memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 0


def _image() -> str:
    for name in IMAGE:
        if os.environ.get(name):
            return printable(without_passwords(os.environ[name]))
    try:
        told = Path("/run/.containerenv").read_text(errors="replace")  # Podman
    except OSError:
        return ""
    found = re.search(r'^image="(.*)"$', told, re.MULTILINE)
    return printable(without_passwords(found[1])) if found else ""


def gpus() -> tuple[CapturedGPU, ...]:
    """Those that the process may use. No driver means none."""
    try:
        import pynvml
    except ImportError:
        return ()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        return tuple(_described(pynvml, os.environ.get("CUDA_VISIBLE_DEVICES")))
    finally:
        pynvml.nvmlShutdown()


def _described(nvml: Any, visible: str | None) -> list[CapturedGPU]:
    """`visible`: indexes or UUIDs, or a beginning of those; None: all."""
    found = []
    driver = nvml.nvmlSystemGetDriverVersion()
    wanted = None if visible is None else [each.strip() for each in visible.split(",") if each.strip()]
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        uuid = nvml.nvmlDeviceGetUUID(handle)
        if wanted is not None and not any(each == str(index) or uuid.startswith(each) for each in wanted):
            continue
        memory = nvml.nvmlDeviceGetMemoryInfo(handle).total
        found.append(CapturedGPU(name=printable(nvml.nvmlDeviceGetName(handle)), memory_bytes=memory, driver=driver))
    return found
