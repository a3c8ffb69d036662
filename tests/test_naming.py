"""Names on the page tell what they name apart.

Oracle: what a reader asks of them: unlike, no longer than there is room, unchanged where possible.
"""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from reports.naming import MAX_BRIEF, MAX_LABEL, MAX_TITLE, name_apart
from reports.ranking import entries_of
from reports.runs import read_source
from tests.support.record_factory import ZOO, record, write_run

# Few letters, so that equal and nearly equal names are drawn often; up to twice a label's length.
TEXT = st.text("ab …(2)·", min_size=1, max_size=70)
LONG = st.sampled_from(["x" * 40, "x" * 40 + "y", "x" * 70, "z" + "x" * 69])
ITEMS = st.lists(st.tuples(TEXT | LONG, st.sampled_from(["run", "run 2"]), TEXT), max_size=30)


@given(ITEMS)
def test_no_two_names_are_alike_or_too_long(items: list[tuple[str, str, str]]) -> None:
    called = name_apart(items)
    for names in zip(*called, strict=True):
        assert len(set(names)) == len(items)
    for names, item in zip(called, items, strict=True):
        assert len(names.title) <= MAX_TITLE
        assert len(names.label) <= MAX_LABEL
        assert len(names.brief) <= MAX_BRIEF
        assert names.full.startswith(item[0])


@given(st.lists(st.text(min_size=1, max_size=MAX_BRIEF), unique=True))
def test_short_names_that_differ_stay_as_they_are(names: list[str]) -> None:
    assert [set(each) for each in name_apart([(name, "run") for name in names])] == [
        {name} for name in names
    ]


def test_a_run_is_named_only_where_it_tells_rows_apart() -> None:
    items = [("lenet5", "a"), ("lenet5", "b"), ("resnet18", "b")]
    full = [names.full for names in name_apart(items)]
    assert full == ["lenet5 · a", "lenet5 · b", "resnet18"]
    # What is the same for all of one name isn't said.
    groups = [("lenet5", "a", "group 1"), ("lenet5", "a", "group 2")]
    assert [n.full for n in name_apart(groups)] == ["lenet5 · group 1", "lenet5 · group 2"]


def test_switches_at_the_end_of_long_names_are_seen() -> None:
    items = [("alexnet_single_tower_cifar@lrn=on",), ("alexnet_single_tower_cifar@lrn=off",)]
    assert [names.label for names in name_apart(items)] == [
        "alexnet_si…_tower_cifar@lrn=on",
        "alexnet_si…tower_cifar@lrn=off",
    ]


def test_runs_and_rows_of_equal_names_have_keys_of_their_own(tmp_path: Path) -> None:
    called = (("a", "b/c"), ("a/b", "c"), ("a (2)", "c"), ("a", "c"))
    folders = []
    for i, (run, model) in enumerate(called):
        animal = ZOO[0]._replace(name=model)
        folders.append(write_run(tmp_path / str(i), [record(animal, run=run)]))
    source = read_source(folders)
    assert [run.name for run in source.runs] == ["a", "a/b", "a (2)", "a (3)"]
    assert len({entry.key for entry in entries_of(source)}) == len(called)
