from __future__ import annotations

import numpy as np
import pytest

from wsss.errors import ConfigError, DataError
from wsss.metrics import average_precisions, centre_box, mean_average_precision


def test_box_is_centred_and_two_thirds_of_each_side() -> None:
    mask = centre_box((6, 9), 7)
    assert mask.dtype == np.uint8
    expected = np.zeros((6, 9))
    expected[1:5, 2:7] = 7  # margins of 1 and 1.5 pixels; the latter rounds to 2
    np.testing.assert_array_equal(mask, expected)
    large = centre_box((300, 450), 1)
    assert large.sum() == 200 * 300
    np.testing.assert_array_equal(large, large[::-1, ::-1])


def test_box_at_the_ends_of_its_range() -> None:
    assert (centre_box((5, 4), 3, 1) == 3).all()
    assert not centre_box((5, 4), 0).any()
    with pytest.raises(ConfigError, match=r"`share` is 1\.5"):
        centre_box((5, 4), 1, 1.5)


def test_average_precision_by_hand() -> None:
    scores = np.array([[0.9, 3, -1], [0.8, 2, -2], [0.7, 1, -3], [0.6, 0, -4]])
    labels = np.array([[1, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0]])
    np.testing.assert_allclose(average_precisions(scores, labels), [(1 + 2 / 3) / 2, 1 / 4, np.nan])
    assert mean_average_precision(scores, labels) == pytest.approx(((1 + 2 / 3) / 2 + 1 / 4) / 2)


def test_no_positives_have_no_average_precision() -> None:
    assert mean_average_precision(np.ones((3, 2)), np.zeros((3, 2))) is None
    assert mean_average_precision(np.ones((0, 2)), np.zeros((0, 2))) is None
    with pytest.raises(DataError, match="must be the same"):
        average_precisions(np.ones((3, 2)), np.zeros((2, 2)))
