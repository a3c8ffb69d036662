"""Text that a page carries packed. Oracle: Python's own base 85 and gzip."""

import html

from hypothesis import given
from hypothesis import strategies as st

from reports.packed_text import BASE, DIGITS, pack_text
from tests.support.unpacked import unpack_text


@given(st.text())
def test_text_comes_back_whatever_its_length(text: str) -> None:
    assert unpack_text(pack_text(text)) == text


def test_no_digit_means_anything_in_a_page() -> None:
    assert len(set(DIGITS)) == BASE
    assert html.escape(DIGITS, quote=True) == DIGITS
    assert "\\" not in DIGITS
