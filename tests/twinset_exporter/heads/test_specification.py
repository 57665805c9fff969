"""What a user writes of heads, on the command line and in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinset.contract import Metric
from twinset.pair_contract import PairContract
from twinset_exporter.errors import UsageError
from twinset_exporter.heads.specification import PLAIN, Head, Specification, Use, of_options, read

WHOLE = """
name = "shop"

[heads.category]
file = "category.keras"
metric = "euclidean"

[heads.style]
file = "/elsewhere/style.keras"
space = "look"
metric = "cosine"

[heads.kind]
file = "kind.keras"
classes = ["boot", "sandal"]

[heads.pair]
file = "pair.keras"
outputs.source = { space = "pair_source", metric = "inner_product" }
outputs.target = { space = "pair_target", metric = "inner_product" }
categories = "types.txt"
pair = { offset = -1.5, scale = 2.0, shift = 0.25, prior = 0.5, ece = 0.01 }
"""

ONE_SIDE = """
[heads.a]
file = "a.keras"
outputs.source = { space = "pair_source", metric = "euclidean" }
pair = { offset = 0, scale = 1, shift = 0, prior = 0.5, ece = 0 }
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "heads.toml"
    file.write_text(text)
    (folder / "types.txt").write_text("sofa\nfloor lamp\n")
    return file


def test_no_options_ask_for_no_heads() -> None:
    assert of_options((), None) is None


def test_an_option_with_a_metric_fills_the_space_of_its_name() -> None:
    assert of_options(["category=models/category.keras:euclidean", "kind=kind.keras"], None) == Specification(
        (
            Head("category", Path("models/category.keras"), Use("category", Metric.EUCLIDEAN)),
            Head("kind", Path("kind.keras"), PLAIN),
        )
    )


def test_a_file_says_the_same_and_more(tmp_path: Path) -> None:
    category, style, kind, pair = read(write(tmp_path, WHOLE)).heads
    assert category == Head("category", tmp_path / "category.keras", Use("category", Metric.EUCLIDEAN))
    assert style == Head("style", Path("/elsewhere/style.keras"), Use("look", Metric.COSINE))
    assert kind == Head("kind", tmp_path / "kind.keras", Use(classes=("boot", "sandal")))
    assert pair.uses(["source", "target"]) == {
        "source": Use("pair_source", Metric.INNER_PRODUCT),
        "target": Use("pair_target", Metric.INNER_PRODUCT),
    }
    assert pair.categories == ("sofa", "floor lamp")
    assert pair.pair == PairContract(offset=-1.5, scale=2.0, shift=0.25, prior=0.5, ece=0.01)
    assert (kind.categories, kind.pair) == ((), None)
    assert read(write(tmp_path, WHOLE)).name == "shop"


def test_the_one_output_of_a_head_is_called_as_the_head() -> None:
    assert Head("category", Path("a.keras"), Use("category", Metric.COSINE)).uses(["dense_7"]) == {
        "category": Use("category", Metric.COSINE)
    }


def test_outputs_that_nothing_is_said_of_are_plain() -> None:
    head = Head("pair", Path("a.keras"), outputs={"source": Use("pair_source", Metric.COSINE)})
    assert head.uses(["source", "target"])["target"] == PLAIN


@pytest.mark.parametrize(
    ("head", "complaint"),
    [
        (Head("pair", Path("a.keras"), Use("pair", Metric.COSINE)), r"outputs source, target.*\[heads.pair.outputs\]"),
        (Head("pair", Path("a.keras"), outputs={"sorce": PLAIN}), "no output 'sorce'; it has source, target"),
    ],
)
def test_a_head_with_other_outputs_than_asked_for_is_refused(head: Head, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        head.uses(["source", "target"])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["category"], "write NAME=FILE.keras"),
        (["category="], "write NAME=FILE.keras"),
        (["Category=a.keras"], "'Category' is no name"),
        (["../a=a.keras"], "is no name"),
        (["a=a.keras:manhattan"], "'manhattan' is no metric: choose one of cosine, euclidean, inner_product"),
        (["a=a.keras", "a=b.keras"], "two heads are called a"),
    ],
)
def test_a_wrong_option_is_told(options: list[str], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        of_options(options, None)


def test_options_and_a_file_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        of_options(["a=a.keras"], write(tmp_path, WHOLE))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("heads = ", "is no TOML"),
        ("", r"describe each in a table \[heads.NAME\]"),
        ('[head.a]\nfile = "a.keras"', "the file has no 'head': it has heads, name"),
        ("[heads.a]", "heads.a.file is missing"),
        ('name = "A B"\n[heads.a]\nfile = "a.keras"', "name: 'A B' is no name"),
        ('[heads.a]\nfile = "a.keras"\nmetrik = "cosine"', "heads.a has no 'metrik'"),
        ('[heads.a]\nfile = "a.keras"\nspace = "b"', "heads.a.metric is missing"),
        ('[heads.a]\nfile = "a.keras"\nclasses = ["x", "x"]', "heads.a.classes names 'x' twice"),
        ('[heads.a]\nfile = "a.keras"\nclasses = []', "heads.a.classes must be a list of names"),
        ('[heads.a]\nfile = "a.keras"\nclasses = ["x", ""]', "heads.a.classes must be a list of names"),
        ('[heads.a]\nfile = "a.keras"\nclasses = "x.txt"', r"heads.a.classes: .*x\.txt: No such file"),
        ('[heads.a]\nfile = "a.keras"\ncategories = 7', "heads.a.categories must be a list of names, or a file"),
        ('[heads.a]\nfile = "a.keras"\npair = 7', "heads.a.pair must be a table with offset, scale, shift, prior, ece"),
        ('[heads.a]\nfile = "a.keras"\npair = {}', "heads.a.pair.offset is missing: say all of offset, scale"),
        ('[heads.a]\nfile = "a.keras"\npair = { bias = 1 }', "heads.a.pair has no 'bias'"),
        (ONE_SIDE, "heads.a.pair: no output fills the space pair_target: a pair has two sides"),
        (WHOLE.replace("prior = 0.5", "prior = 1"), "heads.pair.pair.prior must be a share between 0 and 1, not 1"),
        (WHOLE.replace("scale = 2.0", "scale = nan"), "heads.pair.pair.scale must be a finite number, not nan"),
        ('[heads.a]\nfile = "a.keras"\noutputs.x = { file = "b" }', "heads.a.outputs.x has no 'file'"),
        ('[heads.a]\nfile = "a.keras"\noutputs.x = 1', "heads.a.outputs.x must be a table"),
        ('[heads.a]\nfile = "a.keras"\nmetric = "cosine"\noutputs.x = {}', "heads.a has outputs"),
    ],
)
def test_a_wrong_file_is_told_with_its_name_and_place(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        read(write(tmp_path, text))
    assert str(tmp_path / "heads.toml") in str(caught.value)


def test_a_file_that_isn_t_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing\.toml: No such file"):
        read(tmp_path / "nothing.toml")
