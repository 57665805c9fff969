import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinset_exporter.datasets import literals

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=50)
@given(VALUES)
def test_what_python_writes_of_dictionaries_and_lists_is_read_back(value: object) -> None:
    assert literals.parse(repr(value)) == value


def test_what_python_2_wrote_is_read() -> None:
    assert literals.parse(r"{u'a': u'caf\xe9 \u2013', 'b': [1, -2.5e-3]}") == {"a": "caf\xe9 \u2013", "b": [1, -0.0025]}


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "{'a': open('/etc/passwd')}",
        "(1).__class__",
        "lambda: 1",
        "f'{1}'",
        "b'x'",
        "1+1",
        "[1 -1]",
        "[1][0]",
        "{[]: 1}",
        "{'a' 1}",
        "'a",
        "'\\d'",
        "'\\N{NO SUCH NAME}'",
        "",
        "nan",
        "1\0",
        "{'a': 1}\n{'b': 2}",
        pytest.param("9" * 5000, id="digits"),
    ],
)
def test_what_is_no_plain_literal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        literals.parse(text)


MEGABYTE = 1 << 20

# Each of these costs `ast.literal_eval` minutes, or much memory, or its stack: it must never see them.
HARMFUL = {
    "f-string": "f'" + "{1}" * (MEGABYTE // 3) + "'",
    "f-string in a string of three quotes": "'''\" ' \"''' f'" + "{1}" * (MEGABYTE // 3) + "' \"",
    "sum": "1+" * (MEGABYTE // 2) + "1",
    "signs": "-" * MEGABYTE + "1",
    "comparison": "1<" * (MEGABYTE // 2) + "1",
    "dots": "a." * (MEGABYTE // 2) + "a",
    "quotes": "'" * MEGABYTE,
    "backslashes": "'" + "\\\\" * (MEGABYTE // 2),
    "almost numbers": "[" + "1." * (MEGABYTE // 2),
    "nots": "not " * (MEGABYTE // 4) + "1",
}


@pytest.mark.parametrize("kind", HARMFUL)
def test_a_harmful_line_is_refused_before_it_is_parsed(kind: str) -> None:
    with pytest.raises(ValueError, match="no literal from place"):
        literals.parse(HARMFUL[kind])


@pytest.mark.parametrize(
    "text", ["[" * MEGABYTE, "[" * 1000 + "]" * 1000, "{" * 150 + "}" * 150], ids=["open", "closed", "braces"]
)
def test_deep_nesting_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"nested|unhashable"):
        literals.parse(text)
