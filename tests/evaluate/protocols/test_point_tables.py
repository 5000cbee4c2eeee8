"""Points of pictures: read back as kept, replaced per method, begun again with other columns."""

import numpy as np

from weightatlas.evaluate.protocols.point_tables import beside, keep_points, kept_points


def test_points_of_a_method_replace_its_older_ones(tmp_path) -> None:
    path = beside(tmp_path / "r-laptop.json", "paths", "csv")
    assert path.name == "r-laptop-paths.csv"
    first, second = np.array([[0.1, 0.25], [1.0, -2.0]]), np.array([[0.5, 0.12344]])
    keep_points(path, "raw, aligned", ("x", "y"), first)
    keep_points(path, "codes", ("x", "y"), first)
    keep_points(path, "raw, aligned", ("x", "y"), second)
    columns, found = kept_points(path)
    assert columns == ["x", "y"]
    assert list(found) == ["codes", "raw, aligned"]
    np.testing.assert_array_equal(found["codes"], first)
    np.testing.assert_array_equal(found["raw, aligned"], [[0.5, 0.1234]])


def test_other_columns_begin_the_table_again(tmp_path) -> None:
    path = tmp_path / "p.csv"
    keep_points(path, "a", ("0", "1"), np.zeros((1, 2)))
    keep_points(path, "b", ("0", "0.5", "1"), np.ones((1, 3)))
    assert list(kept_points(path)[1]) == ["b"]
