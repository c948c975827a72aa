"""Slurm on this machine: a cluster of one node of its own, with munge, slurmctld and slurmd on free ports in a folder.

Needs root (slurmd starts jobs as users) and the Debian package `slurm-wlm`. What was started is ended by its pid.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.peers.environment import Unavailable
from forgelog.embedded.ports import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch")

_CONFIGURATION = """\
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_min_interval=1,default_queue_depth=1000
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MaxArraySize=20001
MaxJobCount=50000
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000 State=UNKNOWN
PartitionName=bench Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:16
"""


def missing() -> list[str]:
    """Programs that are not there."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


def install() -> None:
    """By apt-get where that can be done. Raises Unavailable."""
    if not missing():
        return
    if os.geteuid() != 0:
        raise Unavailable(f"{', '.join(missing())} missing, and only root can install slurm-wlm and run slurmd")
    if shutil.which("apt-get") is None:
        raise Unavailable(f"{', '.join(missing())} missing, and this is no Debian: there is no apt-get")
    tried = []
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "--no-install-recommends"]):
        full = [*command, "slurm-wlm", "munge"] if "install" in command else command
        ran = subprocess.run(
            full, capture_output=True, text=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        )
        tried.append(f"{' '.join(full)}: exit {ran.returncode} {ran.stderr.strip()[-200:]}")
    if missing():
        raise Unavailable(f"{', '.join(missing())} still missing after: " + "; ".join(tried))


@contextmanager
def running() -> Iterator[dict[str, str]]:
    """A cluster; gives the environment for its commands. Raises Unavailable."""
    if os.geteuid() != 0:
        raise Unavailable("slurmd must be root to start jobs")
    folder = Path(tempfile.mkdtemp(prefix="forgelog-slurm-"))
    folder.chmod(0o755)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        environment = {
            **os.environ,
            "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin",
            "SLURM_CONF": str(folder / "slurm.conf"),
        }
        for name in ("munge", "state", "spool"):
            (folder / name).mkdir(mode=0o755)
        key = folder / "munge" / "key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        host = socket.gethostname().split(".")[0]
        controller = free_port()
        settings = {
            "folder": folder,
            "host": host,
            "controller": controller,
            "daemon": free_port(),
            "cpus": os.cpu_count(),
        }
        (folder / "slurm.conf").write_text(_CONFIGURATION.format(**settings))

        def start(*command: str) -> subprocess.Popen[bytes]:
            log = stack.enter_context((folder / f"{Path(command[0]).name}.out").open("ab"))
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            stack.callback(_end, process)
            return process

        munge = folder / "munge"
        socket_ = f"--socket={munge}/socket"
        files = (f"--key-file={key}", f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed")
        daemons = [start("munged", "--foreground", "--force", socket_, *files)]
        _until(lambda: (munge / "socket").exists(), daemons, folder)
        daemons.append(start("slurmctld", "-D", "-c"))
        daemons.append(start("slurmd", "-D", "-N", host))
        _until(lambda: "idle" in _say(environment, "sinfo", "-h", "-o", "%T"), daemons, folder)
        yield environment


def latency(environment: dict[str, str], count: int) -> list[float]:
    """Milliseconds from before `srun` to the start of its process, which tells the time."""
    taken = []
    for _ in range(count):
        began = time.time()
        told = _say(environment, "srun", "-Q", "-n1", "date", "+%s.%N")
        taken.append((float(told) - began) * 1000)
    return taken


def rate(environment: dict[str, str], count: int) -> float:
    """Processes a second of one array job, to its last end."""
    script = "#!/bin/sh\ntrue\n"
    began = time.perf_counter()
    command = ["sbatch", "--wait", "-Q", f"--array=1-{count}", "-n1", "-o", "/dev/null", "-e", "/dev/null"]
    subprocess.run(command, input=script.encode(), env=environment, check=True, timeout=600)
    return count / (time.perf_counter() - began)


def measure(count: int) -> dict[str, Any]:
    """As the other peers print it. Raises Unavailable."""
    install()
    with running() as environment:
        latency(environment, 5)
        taken = latency(environment, 30)
        version = _say(environment, "sinfo", "--version").split()[-1]
        return {"version": version, "start_ms": statistics.median(taken), "jobs_per_s": rate(environment, count)}


def _say(environment: dict[str, str], *command: str) -> str:
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return ran.stdout.strip()


def _until(condition: Callable[[], bool], daemons: list[subprocess.Popen[bytes]], folder: Path) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        ended = [process.args[0] for process in daemons if process.poll() is not None]  # type: ignore[index]
        if ended or time.monotonic() > deadline:
            logs = [
                f"{path.name}: {path.read_text(errors='replace').strip()[-400:]}" for path in folder.glob("*.[lo]*")
            ]
            what = f"{', '.join(map(str, ended))} ended" if ended else "no idle node after 30 s"
            raise Unavailable(f"{what}: " + " | ".join(logs))
        time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
