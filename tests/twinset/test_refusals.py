from google.rpc import code_pb2, error_details_pb2, status_pb2

from twinset.refusals import refused_s
from twinset.v1 import catalog_pb2


def refused(item_id: str, reason: str, retry_s: int | None) -> catalog_pb2.PutItemResult:
    status = status_pb2.Status(code=code_pb2.RESOURCE_EXHAUSTED)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason))
    if retry_s is not None:
        info = error_details_pb2.RetryInfo()
        info.retry_delay.FromSeconds(retry_s)
        status.details.add().Pack(info)
    return catalog_pb2.PutItemResult(id=item_id, error=status)


def answer(*results: catalog_pb2.PutItemResult) -> catalog_pb2.PutItemsResponse:
    receipt = catalog_pb2.PutItemResult(id="made", receipt=catalog_pb2.PutReceipt(sequence=1))
    return catalog_pb2.PutItemsResponse(results=[receipt, *results])


def test_the_longest_wait_that_the_server_asks_for_counts() -> None:
    assert refused_s(answer(), []) is None
    assert refused_s(answer(refused("a", "INDEX_BEHIND", 2), refused("b", "TOO_MANY_PICTURES", 5)), []) == 5


def test_a_full_disk_and_what_names_no_time_are_not_waited_for() -> None:
    assert refused_s(answer(refused("a", "DISK_FULL", 2), refused("b", "INDEX_BEHIND", None)), []) is None


def test_an_element_never_follows_a_later_one_of_its_id() -> None:
    later = catalog_pb2.PutItemsRequest(items=[catalog_pb2.Item(id="a")])
    assert refused_s(answer(refused("a", "INDEX_BEHIND", 2)), [later]) is None
    assert refused_s(answer(refused("b", "INDEX_BEHIND", 2)), [later]) == 2
    update = catalog_pb2.UpdateItemsRequest(updates=[catalog_pb2.ItemUpdate(item=catalog_pb2.Item(id="b"))])
    assert refused_s(answer(refused("b", "INDEX_BEHIND", 2)), [later, update]) is None
