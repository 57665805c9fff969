import contextlib
import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinset_server.catalog.store import attributes
from twinset_server.domain import MAX_ATTRIBUTES_BYTES, attribute_bytes
from twinset_server.errors import InvalidRequest

VALUES = st.one_of(
    st.text(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.lists(st.text()).map(tuple),
    st.datetimes(timezones=st.just(datetime.UTC)),
)


@given(st.dictionaries(st.text(), VALUES))
def test_what_is_encoded_is_decoded_with_its_type(document: dict[str, attributes.Attribute]) -> None:
    decoded = attributes.decode(attributes.encode(document))
    assert decoded == document
    assert [type(value) for value in decoded.values()] == [type(value) for value in document.values()]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), datetime.datetime(2026, 1, 1), None, ["a"], ("a", 1)])
def test_what_is_no_attribute_is_refused_by_name(value: object) -> None:
    with pytest.raises(InvalidRequest, match="attributes\\['size'\\]"):
        attributes.encode({"size": value})  # type: ignore[dict-item]


def test_single_attributes_can_not_grow_beyond_the_limits() -> None:
    full = attributes.encode({f"name{n}": n for n in range(64)})
    with pytest.raises(InvalidRequest, match="would be 65"):
        attributes.merged(full, attributes.encode_changes({"another": 1}))
    assert (
        len(attributes.decode(attributes.merged(full, attributes.encode_changes({"another": 1, "name0": None})))) == 64
    )
    with pytest.raises(InvalidRequest, match="at most 65536 allowed"):
        attributes.merged(attributes.encode({}), attributes.encode_changes({"long": tuple(["x" * 1024] * 80)}))


def test_an_update_may_reach_what_a_put_may_hold_and_no_more() -> None:
    # Quotes and commas of JSON don't count.
    texts = ['"' * 1021] * 64
    full = {f"{n:02d}": text + "x" for n, text in enumerate(texts[:63])} | {"63": texts[63]}
    assert sum(attribute_bytes(name, value) for name, value in full.items()) == MAX_ATTRIBUTES_BYTES - 1
    for size in (1022, 1023):
        with pytest.raises(InvalidRequest) if size == 1023 else contextlib.nullcontext():
            attributes.merged(attributes.encode(full), attributes.encode_changes({"63": '"' * size}))


def test_documents_read_together_are_those_read_one_by_one() -> None:
    texts = ['{"a":1}', "{}", '{"a":"b,{}","c":[]}']
    assert attributes.parsed_each(texts) == [attributes.parsed(text) for text in texts]
    assert attributes.parsed_each([]) == []


@pytest.mark.parametrize("damaged", ["", "1", "[]", "{", "{},{}"])
def test_one_damaged_document_among_others_is_refused(damaged: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        attributes.parsed_each(["{}", damaged, "{}"])
