"""Operations exclude each other where they must, end once, and are remembered for a while."""

import asyncio
import datetime

import pytest

from fakes.maintenance import FakeMaintenance
from twinset_server.errors import (
    InvalidRequest,
    OperationCancelled,
    OperationRunning,
    StoreUnavailable,
)
from twinset_server.maintenance import CompactReport
from twinset_server.operations import KEPT, Defect, Operations

START = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)


class Clock:
    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime.datetime:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def maintenance() -> FakeMaintenance:
    return FakeMaintenance()


@pytest.fixture
def operations(maintenance: FakeMaintenance, clock: Clock) -> Operations:
    return Operations(maintenance, now=clock)


async def test_an_operation_ends_in_its_report(maintenance: FakeMaintenance, operations: Operations) -> None:
    operation = operations.compact()
    assert (operation.name, operation.outcome) == ("operations/compact-000001", None)
    await asyncio.sleep(0)
    assert operation.work.progress.done == 3
    maintenance.go.set()
    done = await operations.wait(operation.name, 10)
    assert isinstance(done.outcome, CompactReport)
    assert done.ended == START


@pytest.mark.parametrize(
    ("running", "asked", "excluded"),
    [
        ("check", "check", True),
        ("rebuild", "rebuild", True),
        ("compact", "check", True),
        ("check", "compact", True),
        ("restore", "backup", True),
        ("check", "backup", False),
        ("rebuild", "check", False),
    ],
)
async def test_what_excludes_what(operations: Operations, running: str, asked: str, excluded: bool) -> None:
    start = {
        "backup": lambda: operations.backup("/b", ""),
        "restore": lambda: operations.restore("/b"),
        "check": operations.check,
        "compact": operations.compact,
        "rebuild": lambda: operations.rebuild(""),
    }
    first = start[running]()
    if excluded:
        with pytest.raises(OperationRunning, match=first.name) as caught:
            start[asked]()
        assert caught.value.subject == first.name
    else:
        start[asked]()
    await operations.close()


async def test_a_cancelled_operation_ends_so_and_another_may_begin(operations: Operations) -> None:
    operation = operations.compact()
    operations.cancel(operation.name)
    assert isinstance((await operations.wait(operation.name, 10)).outcome, OperationCancelled)
    operations.check()
    await operations.close()


async def test_an_error_is_the_outcome_and_a_defect_is_only_named(
    maintenance: FakeMaintenance, operations: Operations
) -> None:
    maintenance.go.set()
    maintenance.error = StoreUnavailable("the disk failed")
    operation = operations.check()
    assert (await operations.wait(operation.name, 10)).outcome is maintenance.error
    maintenance.error = ZeroDivisionError("a secret")
    defect = (await operations.wait(operations.check().name, 10)).outcome
    assert isinstance(defect, Defect)
    assert "secret" not in str(defect)


async def test_a_wait_ends_with_its_time(operations: Operations) -> None:
    operation = operations.check()
    assert (await operations.wait(operation.name, 0.01)).outcome is None
    await operations.close()


async def test_ended_operations_are_forgotten_by_time_and_by_number(
    maintenance: FakeMaintenance, operations: Operations, clock: Clock
) -> None:
    maintenance.go.set()
    for _ in range(KEPT + 5):
        await operations.wait(operations.check().name, 10)
    assert next(one.name for one in operations.all()) == "operations/check-000006"
    clock.time += datetime.timedelta(hours=24, seconds=1)
    assert operations.all() == ()


async def test_close_waits_until_everything_has_ended(operations: Operations) -> None:
    started = [operations.check(), operations.backup("/b", "one")]
    await operations.close()
    assert [type(one.outcome) for one in started] == [OperationCancelled] * 2


@pytest.mark.parametrize(
    ("folder", "name", "field"),
    [
        ("backups", "", "folder"),
        ("", "", "folder"),
        ("/b", "../up", "name"),
        ("/b", ".hidden", "name"),
        ("/b", "a/b", "name"),
    ],
)
async def test_a_backup_needs_an_absolute_folder_and_a_plain_name(
    operations: Operations, folder: str, name: str, field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        operations.backup(folder, name)
    assert caught.value.field == field


async def test_a_backup_without_a_name_is_named_by_time(maintenance: FakeMaintenance, operations: Operations) -> None:
    operations.backup("/b", "")
    await asyncio.sleep(0)
    [(_, name)] = maintenance.asked
    assert name == "twinset-20261122T120000.000000Z"
    await operations.close()
