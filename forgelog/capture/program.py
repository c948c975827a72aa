"""How a program was started: its command, the names of its environment's variables, its seeds."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from events.language.experiments.capture import MAX_ARGUMENTS, MAX_NAMES, CapturedProgram, CapturePart, LeftOut
from forgelog.capture.secrets import arguments, has_secret, printable
from forgelog.errors import InvalidInput

MOST_BYTES = 100_000
"""Of all arguments."""
LONGEST = 8_000
"""Characters of an argument."""

SETTINGS = (
    "CUBLAS_WORKSPACE_CONFIG", "CUDA_DEVICE_ORDER", "CUDA_LAUNCH_BLOCKING", "CUDA_VISIBLE_DEVICES",
    "JAX_DEFAULT_MATMUL_PRECISION", "JAX_ENABLE_X64", "JAX_PLATFORMS", "LANG", "LC_ALL", "LOCAL_RANK", "MKL_CBWR",
    "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NVIDIA_TF32_OVERRIDE", "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS", "PYTHONHASHSEED", "PYTHONOPTIMIZE", "PYTHONUTF8", "PYTORCH_CUDA_ALLOC_CONF", "RANK",
    "TF_CUDNN_DETERMINISTIC", "TF_DETERMINISTIC_OPS", "TF_ENABLE_ONEDNN_OPTS", "TOKENIZERS_PARALLELISM",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "TZ", "WORLD_SIZE", "XLA_FLAGS",
)  # fmt: skip
"""Variables that change results or speed and hold no secrets: their values are captured. Of all others, the name is."""

HASH_SEED = "PYTHONHASHSEED"
_MOST_SEED = (1 << 63) - 1


def captured(
    argv: Sequence[str], folder: Path, base: Path, variables: Mapping[str, str], left: list[LeftOut]
) -> CapturedProgram:
    """`folder`: the program's working directory. `base`: what that is told relative to, if it is inside."""
    shown, hidden = arguments([_text(each) for each in argv])
    left += [_left(name, "its value may be a secret") for name in hidden]
    kept: list[str] = []
    room = MOST_BYTES
    for each in shown:
        room -= len(each.encode())
        if len(kept) == MAX_ARGUMENTS or room < 0 or len(each) > LONGEST:
            left.append(_left("arguments", f"only the first {len(kept)} of {len(shown)} fit"))
            break
        kept.append(each)
    names = sorted(name for name in variables if 0 < len(name) <= 250 and name.isprintable())
    if len(names) > MAX_NAMES:
        left.append(_left("variables", f"{len(names):,} are set, and {MAX_NAMES:,} are captured"))
    settings = {
        name: value
        for name in SETTINGS
        if (value := variables.get(name)) is not None and value.isprintable() and len(value) <= LONGEST
        and not has_secret(value.encode())
    }  # fmt: skip
    return CapturedProgram(
        argv=tuple(kept),
        working_directory=_text(_relative(folder, base)),
        variables=tuple(names[:MAX_NAMES]),
        settings=settings,
    )


def seeds(given: Mapping[str, int], variables: Mapping[str, str], left: list[LeftOut]) -> dict[str, int]:
    """Those that the program has set, and Python's own. Raises `InvalidInput`."""
    found: dict[str, int] = {}
    hashed = variables.get(HASH_SEED, "")
    if hashed.isdecimal():
        found[HASH_SEED] = int(hashed)
    elif hashed:
        left.append(
            LeftOut(part=CapturePart.SEEDS, what=HASH_SEED, why=f"it is {printable(hashed, 40)!r}, and no number")
        )
    for name, seed in given.items():
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= _MOST_SEED:
            raise InvalidInput(f"seeds.{name}: {seed!r} is no seed; give an integer from 0 to {_MOST_SEED}")
        found[name] = seed
    return found


def _relative(folder: Path, base: Path) -> str:
    folder, base = folder.resolve(), base.resolve()
    if folder == base:
        return ""
    return folder.relative_to(base).as_posix() if folder.is_relative_to(base) else str(folder)


def _text(value: str | os.PathLike[str]) -> str:
    """Valid Unicode."""
    return os.fspath(value).encode("utf-8", "backslashreplace").decode()


def _left(what: str, why: str) -> LeftOut:
    return LeftOut(part=CapturePart.PROGRAM, what=printable(what, 4_096), why=why)
