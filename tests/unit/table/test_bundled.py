"""The bundled table is there, whole, and says where it comes from."""

import hashlib

from trivium.table import bundled_label, penguins_path, read_table, split_label


def test_the_table_is_the_published_one():
    path = penguins_path()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest == "144f623143c9360fd77322a4f86acb06dc198814dbd2669724c63e6457b907bd"
    assert "CC0" in (path.parent / "README.md").read_text()


def test_it_has_344_penguins_and_the_label():
    table = read_table(penguins_path())
    assert (table.n_rows, len(table.columns)) == (344, 17)
    assert bundled_label() in table
    assert split_label(table, bundled_label()).classes == ("FEMALE", "MALE")
