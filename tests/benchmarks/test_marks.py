"""A table goes between its marks and nowhere else."""

import pytest

from benchmarks.common.marks import put_between
from medvlp.errors import DataError


def test_the_page_takes_the_table_between_its_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "a\n<!-- one: begin -->\nold\n<!-- one: end -->\nb\n<!-- two: begin -->\n<!-- two: end -->\n", encoding="utf-8"
    )
    put_between(page, "one", "new\n")
    put_between(page, "two", "| x |")
    assert page.read_text(encoding="utf-8") == (
        "a\n<!-- one: begin -->\nnew\n<!-- one: end -->\nb\n<!-- two: begin -->\n| x |\n<!-- two: end -->\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "no marks",
        "<!-- one: begin -->",
        "<!-- one: end --><!-- one: begin -->",
        "<!-- one: begin --><!-- one: begin --><!-- one: end -->",
    ],
)
def test_a_page_without_both_marks_in_order_stays_as_it_is(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"page\.md: does not hold .* once, in order; add the two marks"):
        put_between(page, "one", "new")
    assert page.read_text(encoding="utf-8") == text


def test_a_missing_page_is_named(tmp_path):
    with pytest.raises(DataError, match="no such page"):
        put_between(tmp_path / "other.md", "one", "new")
