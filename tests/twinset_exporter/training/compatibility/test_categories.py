from __future__ import annotations

import numpy as np

from twinset_exporter.training.compatibility.categories import descriptors, numbered


def test_names_that_share_words_share_components_and_each_has_its_own():
    unknown, low, flat, sofa = descriptors(["Rug, low pile", "Rugs, flatwoven", "Sofa"])

    assert low @ flat == 1  # "rug", the only word of two names
    assert low @ low == flat @ flat == 2
    assert sofa @ sofa == 1
    assert unknown @ unknown == 1
    assert not (np.stack((low, flat, sofa)) @ unknown).any()


def test_several_shared_words_weigh_as_much_as_one():
    table, wall, _, _ = descriptors(["table lamp", "wall lamp", "table", "wall"])[1:]

    np.testing.assert_allclose(table @ table, 2)
    np.testing.assert_allclose(table @ wall, 0.5)


def test_without_names_there_is_the_unknown_alone():
    np.testing.assert_array_equal(descriptors([]), [[1]])


def test_numbers_count_from_one_and_strangers_are_unknown():
    assert numbered(["lamp", "", "sofa", "oven"], ["lamp", "sofa"]).tolist() == [1, 0, 2, 0]
