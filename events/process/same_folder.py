"""Whether two processes see the same folder under one path: a client that names it, and an agent that is to use it.

A folder's identity is taken by both and compared. On a local file system it is the machine's boot, the device and the
inode: processes of one machine agree on it, also in containers that mount the folder, and others never do. On a network
file system, which other machines mount too, it is the inode under that path. Must not know jobs or nodes.
"""

from __future__ import annotations

import os
import stat

NETWORK_FILE_SYSTEMS = frozenset(
    {
        "nfs", "nfs4", "lustre", "ceph", "gpfs", "beegfs", "cifs", "smb3", "afs", "pvfs2", "ocfs2", "gfs2", "wekafs",
        "fuse.ceph", "fuse.glusterfs", "fuse.juicefs", "fuse.sshfs",
    }
)  # fmt: skip
"""Types as /proc/self/mountinfo names them (proc_pid_mountinfo(5))."""


def folder_identity(path: str) -> str:
    """What identifies the folder under an absolute path, as this process sees it; empty where the system does not tell
    its boots apart (no Linux), so that no node has it. May block on a network. Raises OSError when there is no folder.
    """
    found = os.stat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(20, os.strerror(20), path)
    if _file_system(found.st_dev) in NETWORK_FILE_SYSTEMS:
        return f"network:{found.st_ino}"
    boot = _boot()
    return f"{boot}:{found.st_dev}:{found.st_ino}" if boot else ""


def is_same_folder(path: str, identity: str) -> bool:
    """Whether this process sees the identified folder under that path. May block on a network."""
    try:
        return bool(identity) and folder_identity(path) == identity
    except OSError:
        return False


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def _file_system(device: int) -> str:
    """The type of the file system on a device; empty where the system does not say."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                mount, _, rest = line.partition(" - ")
                if mount.split(" ", 3)[2] == wanted:
                    return rest.split(" ", 1)[0]
    except OSError:
        return ""
    return ""
