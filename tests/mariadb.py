"""A MariaDB of one's own, for tests of MySQL: that of the machine, or Debian's package, unpacked into a folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGES = ("mariadb-server-core", "liburing2", "libaio1")
KEPT = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "forgelog" / "mariadb"
"""Where the packages are unpacked, once for a user."""
SECONDS = 120
PASSWORD = "p@ss/word"
"""Of the user in the URL."""


class Unavailable(Exception):
    """There is no server, and none can be had. The text says why."""


def program() -> tuple[Path, dict[str, str]]:
    """The server's program, and the environment that it needs. Raises Unavailable."""
    if found := shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        return Path(found), {}
    unpacked = KEPT / "usr" / "sbin" / "mariadbd"
    if not unpacked.exists():
        _unpack()
    return unpacked, {"LD_LIBRARY_PATH": f"{KEPT}/usr/lib/x86_64-linux-gnu:{KEPT}/lib/x86_64-linux-gnu"}


def _unpack() -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise Unavailable("there is no mariadbd, and no apt-get to fetch one by")
    making = KEPT.with_name(f"mariadb.{os.getpid()}")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    try:
        fetched = subprocess.run(
            ["apt-get", "download", *PACKAGES], cwd=making, capture_output=True, text=True, timeout=SECONDS
        )
        if fetched.returncode:
            raise Unavailable(f"apt-get can't fetch MariaDB: {fetched.stderr.strip()[-300:]}")
        for package in making.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package.name, "."], cwd=making, check=True, timeout=SECONDS)
            package.unlink()
        if not KEPT.exists():
            making.rename(KEPT)
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"MariaDB's packages can't be unpacked: {error}") from None
    finally:
        shutil.rmtree(making, ignore_errors=True)


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """The URL of a database of a server that runs meanwhile. Raises Unavailable."""
    found, more = program()
    data, log = folder / "data", folder / "mariadb.log"
    share = found.parent.parent / "share" / "mysql"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data.mkdir(parents=True)
    common = [
        str(found),
        "--no-defaults",
        f"--datadir={data}",
        f"--lc-messages-dir={share}",
        f"--character-sets-dir={share / 'charsets'}",
        "--user=root",
        "--innodb-buffer-pool-size=16M",
        "--innodb-log-file-size=4M",
    ]
    tables = [share / f"mysql_{name}.sql" for name in ("system_tables", "performance_tables", "system_tables_data")]
    lines = ["CREATE DATABASE mysql;", "USE mysql;", "SET @auth_root_socket=NULL;"]  # one statement a line
    lines += [path.read_text() for path in tables]
    lines += [
        "CREATE DATABASE shop CHARACTER SET utf8mb4;",
        "FLUSH PRIVILEGES;",
        f"CREATE USER 'clerk'@'%' IDENTIFIED BY '{PASSWORD}';",
        "GRANT ALL ON shop.* TO 'clerk'@'%';",
    ]
    environment = {**os.environ, **more}
    with log.open("w") as out:
        subprocess.run(
            [*common, "--bootstrap"],
            input="\n".join([*lines, ""]).encode(),
            stdout=out,
            stderr=out,
            env=environment,
            check=True,
            timeout=SECONDS,
        )
        running = subprocess.Popen(
            [*common, f"--port={port}", "--bind-address=127.0.0.1", f"--socket={folder}/s", "--skip-name-resolve"],
            stdout=out,
            stderr=out,
            env=environment,
        )
    try:
        until = time.monotonic() + SECONDS
        while "ready for connections" not in log.read_text(errors="replace"):
            if running.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"MariaDB did not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.1)
        yield f"mysql://clerk@127.0.0.1:{port}/shop"
    finally:
        running.terminate()
        running.wait(30)
