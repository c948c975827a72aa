"""A platform's secrets: small text files in ``keys/`` of its data folder, each made once and readable by its user only.

Imports nothing heavy: the command line reads a key at every call. Must not know what a secret is for.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

FOLDER = "keys"
OWNER = "owner.key"
"""Opens the gateway: the bearer token of the platform's one owner."""
SERVICES = "services.key"
"""Opens the services' own gRPC ports: known to the gateway, the services and the supervisor."""
REPLICAS = "replicas.key"
"""Opens the ports of deployments' replicas: known to routers and node agents."""

MOST_BYTES = 4096
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_ROOTS = stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP
"""Root's file reaches another user by its group only: so Kubernetes mounts secrets, and libpq takes them."""


class KeyFileProblem(Exception):
    """A secret's file can't be used. The text names the file, what is wrong, and what to do; never what is in it."""


def key_path(data: Path, name: str) -> Path:
    """Where the platform of the folder `data` has this secret."""
    return data / FOLDER / name


def new_api_key() -> str:
    """``flk_<id>_<secret>``: an id of 48 bits to tell keys apart, and 256 random bits."""
    return f"flk_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"


def read_key(path: Path) -> str:
    """The secret in a file. Raises KeyFileProblem, also when other users may read it."""
    text = read_private(path).strip()
    if not text or not text.isprintable() or not text.isascii():
        raise KeyFileProblem(f"{path} is damaged: it holds no key; remove it, and `forgelog up` makes another")
    return text


def read_private(path: Path) -> str:
    """A file with a secret in it. Raises KeyFileProblem, also when other users may read it.

    Links are followed, since mounted secrets are links.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        problem = f"there is no {path}; name a file that is there (`forgelog up` makes a data folder's)"
        raise KeyFileProblem(problem) from None
    except OSError as error:
        raise KeyFileProblem(f"{path} can't be read: {error.strerror}; only the platform's user may") from None
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise KeyFileProblem(f"{path} is no plain file; name one that has the secret in it")
        if stat.S_IMODE(found.st_mode) & (_ROOTS if found.st_uid == 0 != os.geteuid() else _OTHERS):
            raise KeyFileProblem(f"{path} can be read by other users; chmod 600 {path}, and make a new key")
        content = os.read(file, MOST_BYTES + 1)
    except OSError as error:
        raise KeyFileProblem(f"{path} can't be read: {error.strerror}") from None
    finally:
        os.close(file)
    if len(content) > MOST_BYTES:
        raise KeyFileProblem(f"{path} is damaged: it is longer than {MOST_BYTES} bytes, and no file of a secret is")
    return content.decode("utf-8", "replace")


def ensure_key(path: Path, new: Callable[[], str] = new_api_key) -> str:
    """The secret in a file, which is made if it is not there. Of several that make it at once the first one's stands.

    Raises KeyFileProblem.
    """
    with suppress(FileExistsError):
        try:
            _make(path, new())
        except FileExistsError:
            raise
        except OSError as error:
            raise KeyFileProblem(f"{path} can't be made: {error.strerror}") from None
    return read_key(path)


def _make(path: Path, text: str) -> None:
    """Raises FileExistsError when it is there."""
    if path.exists():
        raise FileExistsError(path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # one that is there may be for other things too
    scratch = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(scratch, path)  # whole, or not there
    finally:
        scratch.unlink(missing_ok=True)
