"""Which file system a folder lies on: SQLite's write-ahead log needs memory that all its users share.

https://sqlite.org/wal.html: "WAL does not work over a network filesystem."
"""

from __future__ import annotations

import re
from pathlib import Path

_NETWORK = frozenset(
    [
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "smb3",
        "smbfs",
    ]
)
_NETWORK_FUSE = frozenset(
    [
        "ceph",
        "curlftpfs",
        "davfs2",
        "gcsfuse",
        "glusterfs",
        "goofys",
        "juicefs",
        "mfs",
        "rclone",
        "s3fs",
        "seaweedfs",
        "smbnetfs",
        "sshfs",
    ]
)


def is_network(kind: str) -> bool:
    """Return whether a file system of this kind, such as "ext4" or "fuse.sshfs", is reached over a network."""
    name, _, inner = kind.partition(".")
    if name in ("fuse", "fuseblk"):
        return inner in _NETWORK_FUSE
    return kind in _NETWORK or kind in _NETWORK_FUSE


def kind_of(path: Path, mounts: str) -> str:
    """Return the kind of the file system that holds `path`; "unknown" where no line tells.

    Args:
        path: absolute, without symbolic links.
        mounts: the text of /proc/self/mountinfo, described in proc_pid_mountinfo(5).
    """
    kind, longest = "unknown", -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if len(fields) < 5 or not rest[0]:
            continue
        point = Path(_unescaped(fields[4]))
        # Of two mounts on one point the later one hides the earlier.
        if path.is_relative_to(point) and len(point.parts) >= longest:
            kind, longest = rest[0], len(point.parts)
    return kind


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
