"""Models that don't fit together.

Oracle: the definition, checked on drawn needs: all there, none too full.
"""

from hypothesis import given
from hypothesis import strategies as st

from bench.measure.memory import Need, fit_together

NEEDS = st.lists(
    st.builds(Need, kept=st.floats(0, 10), step=st.floats(0, 10), forward=st.just(0.0)), min_size=1
)


@given(NEEDS, st.floats(1, 60))
def test_every_group_holds_the_reference_and_no_more_than_fits(
    needs: list[Need], room: float
) -> None:
    named = {str(i): need for i, need in enumerate(needs)}
    groups = fit_together(named, room)
    assert all(group[0] == "0" for group in groups)
    others = [model for group in groups for model in group[1:]]
    assert others == list(named)[1:]
    for group in groups:
        total = (
            named["0"].kept + sum(named[m].kept for m in group) + max(named[m].step for m in group)
        )
        assert (
            total <= room * (1 + 1e-9) or len(group) <= 2
        )  # with the reference alone there is no smaller group


def test_what_fits_is_one_group() -> None:
    needs = {name: Need(1.0, 1.0, 0.0) for name in "abcd"}
    assert fit_together(needs, 6.0) == [("a", "b", "c", "d")]
    assert fit_together(needs, 5.0) == [("a", "b", "c"), ("a", "d")]
