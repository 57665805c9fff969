"""Maintenance reads what the real builder writes, and has it build."""

from pathlib import Path

import pytest

from fakes.folder import FakeHandle, WrittenFolder
from twinset_server.catalog.index.builder import Builder
from twinset_server.catalog.maintenance import FolderMaintenance, IdleFolder
from twinset_server.config import StoreSettings
from twinset_server.errors import OperationCancelled, SpaceNotFound
from twinset_server.maintenance import Severity, Work


@pytest.fixture
def idle(written: WrittenFolder) -> FolderMaintenance:
    return FolderMaintenance(IdleFolder(written.path), served=False)


@pytest.fixture(autouse=True)
def _built(written: WrittenFolder) -> None:
    """The three items in a generation; then one is deleted and another put."""
    written.put("the id of a deleted item")
    Builder(written.database, written.path / "index", StoreSettings(path=written.path)).build_now()
    written.delete("the id of a deleted item")
    written.put("later")


async def test_a_generation_of_the_builder_has_no_findings(maintenance: FolderMaintenance, work: Work) -> None:
    report = await maintenance.check(work)
    assert (report.findings, report.generations) == ([], 1)


async def test_damage_to_a_segment_of_the_builder_is_found(
    written: WrittenFolder, maintenance: FolderMaintenance, work: Work
) -> None:
    [vectors] = written.path.glob("index/1/segment-*/vectors.f32")
    vectors.write_bytes(b"x" * vectors.stat().st_size)
    [finding] = (await maintenance.check(work)).findings
    assert (finding.severity, finding.subject) == (Severity.WARNING, "index/1/generation-000001.json")
    assert f"{vectors} has another content" in finding.description


async def test_a_backup_carries_the_builder_s_generation(
    maintenance: FolderMaintenance, tmp_path: Path, work: Work
) -> None:
    report = await maintenance.backup(tmp_path, "one", work)
    fresh = WrittenFolder(tmp_path / "fresh")
    restored = FolderMaintenance(FakeHandle(fresh))
    await restored.restore(report.path, Work())
    checked = await restored.check(Work())
    fresh.connection.close()
    assert (checked.findings, checked.generations) == ([], 1)


async def test_an_idle_folder_is_built_by_the_command(idle: FolderMaintenance, work: Work) -> None:
    assert (await idle.rebuild("", work)).spaces == ("visual",)
    report = await idle.check(Work())
    assert (report.findings, report.generations) == ([], 2)


async def test_an_unknown_space_is_told(idle: FolderMaintenance, work: Work) -> None:
    with pytest.raises(SpaceNotFound, match="gone"):
        await idle.rebuild("gone", work)


async def test_a_cancelled_rebuild_leaves_the_old_index(idle: FolderMaintenance) -> None:
    cancelled = Work()
    cancelled.cancel()
    with pytest.raises(OperationCancelled):
        await idle.rebuild("visual", cancelled)
    assert (await idle.check(Work())).findings == []


async def test_ids_of_deleted_items_leave_the_index(
    written: WrittenFolder, idle: FolderMaintenance, work: Work
) -> None:
    def named() -> list[Path]:
        return [path for path in written.path.rglob("*") if path.is_file() and b"a deleted item" in path.read_bytes()]

    assert [path for path in named() if "index" in path.parts]
    assert (await idle.compact(work)).rebuilt == ("visual",)
    assert named() == []
