from pathlib import Path

import pytest

from twinset_server.catalog import folder as folder_module
from twinset_server.catalog import hold
from twinset_server.catalog.filesystem import is_network, kind_of
from twinset_server.errors import StartupError

MOUNTS = r"""22 1 252:1 / / rw,relatime shared:1 - ext4 /dev/root rw
23 22 0:5 / /dev rw,nosuid shared:2 - devtmpfs udev rw
40 22 0:44 / /mnt/two\040words rw - nfs4 server:/export rw
41 22 0:45 / /mnt rw - fuse.sshfs user@server:/ rw
42 41 252:2 / /mnt/disk rw - xfs /dev/vdb rw
43 42 0:46 / /mnt/disk rw master:1 - cifs //server/share rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/twinset", "ext4"),
        ("/mnt", "fuse.sshfs"),
        ("/mnt/two words/data", "nfs4"),
        ("/mnt/two wordsmith", "fuse.sshfs"),
        ("/mnt/disk/data", "cifs"),
    ],
)
def test_the_innermost_and_latest_mount_tells_the_kind(path: str, kind: str) -> None:
    assert kind_of(Path(path), MOUNTS) == kind


def test_without_mounts_the_kind_is_unknown_and_taken_for_local() -> None:
    assert kind_of(Path("/data"), "") == "unknown"
    assert not is_network("unknown")


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs", "fuse.glusterfs"])
def test_what_is_reached_over_a_network(kind: str) -> None:
    assert is_network(kind)


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "zfs", "overlay", "tmpfs", "fuseblk", "fuse.ntfs-3g", "virtiofs"]
)
def test_what_is_local(kind: str) -> None:
    assert not is_network(kind)


def test_a_folder_on_a_network_file_system_is_refused_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 1 0:1 / / rw - ext4 /dev/root rw\n23 22 0:2 / {tmp_path}/far rw - nfs4 server:/ rw\n")
    monkeypatch.setattr(folder_module, "_MOUNTS", mounts)
    (tmp_path / "far").mkdir()
    with pytest.raises(StartupError, match=r"network file system \(nfs4\).*--data"), hold(tmp_path / "far"):
        pass
    assert list((tmp_path / "far").iterdir()) == []
    with hold(tmp_path / "near"):
        pass
