import numpy as np
import pytest

from twinset_server.catalog.index.labels import TextLabels, Texts

WORDS = ["a", "", "Ärmel", "衣", "", "z" * 300]


def test_texts_come_back_as_they_were() -> None:
    texts = Texts.of(WORDS)
    assert [texts[place] for place in range(len(texts))] == WORDS


def test_taken_texts_are_those_at_the_places() -> None:
    places = np.array([5, 0, 1, 3, 3])
    taken = Texts.of(WORDS).taken(places)
    assert [taken[place] for place in range(len(taken))] == [WORDS[place] for place in places]
    assert len(Texts.of(WORDS).taken(np.empty(0, np.intp))) == 0


def test_no_texts_are_empty() -> None:
    assert len(Texts.of([])) == 0


def test_a_label_is_an_item_and_a_picture() -> None:
    labels = TextLabels(Texts.of(["item 1", "item 2"]), Texts.of(["0", ""]))
    assert ([labels[0], labels[1]], len(labels)) == ([("item 1", "0"), ("item 2", "")], 2)


@pytest.mark.parametrize("texts", [WORDS, [""] * 6], ids=["some", "none"])
def test_texts_read_together_are_those_read_one_by_one(texts: list[str]) -> None:
    stored = Texts.of(texts)
    places = np.array([4, 0, 2, 2, 1, 3])
    assert stored.at(places) == [texts[place] for place in places.tolist()] == [stored[place] for place in places]
    assert stored.at(places[:0]) == []
