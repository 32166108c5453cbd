"""Every measurement runs, in a size that tells nothing, and yields numbers."""

import math
import shutil

import pytest

from bench.__main__ import ROWS, main
from bench.results import BEGIN, END, Result, Wording, ratio, table, write
from bench.sizes import TINY
from bench.source_deliveries import DELIVERIES
from service.sources.kinds import KINDS

NEEDED = {"playback": "age", "verify": "openssl"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_a_row_yields_numbers(name, tmp_path):
    program = NEEDED.get(name)
    if program and shutil.which(program) is None:
        pytest.skip(f"the program {program} is absent")
    result = ROWS[name](TINY, tmp_path)
    for number in (result.ours, result.reference, result.figure, *result.spread):
        assert math.isfinite(number)
    assert result.ours > 0
    assert result.reference > 0


@pytest.mark.parametrize("kind", DELIVERIES)
def test_all_that_a_kind_of_source_delivers_is_measured(kind):
    assert set(DELIVERIES[kind]()) == set(KINDS[kind].adapters)


def test_the_figure_is_the_median_of_the_rounds_own_ratios():
    wording = Wording(what="w", against="a", unit="/s", bound=0.5)
    result = ratio(wording, [(10, 10), (40, 20), (30, 10)])
    assert result.figure == 2
    assert result.spread == (1, 3)
    assert (result.ours, result.reference) == (30, 10)


@pytest.mark.parametrize(
    ("figure", "is_ceiling", "is_reached"),
    [(0.5, False, True), (0.4, False, False), (0.5, True, True), (0.6, True, False)],
)
def test_a_bound_is_a_floor_unless_it_is_a_ceiling(figure, is_ceiling, is_reached):
    wording = Wording(what="w", against="a", unit="s", bound=0.5, is_ceiling=is_ceiling)
    result = ratio(wording, [(figure, 1)])
    assert result.is_reached is is_reached
    assert ("**no**" in table([result])) is not is_reached


def test_a_table_replaces_the_one_before(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    write(page, "new")
    assert page.read_text(encoding="utf-8") == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"


def test_a_page_without_its_markers_is_left_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("no markers", encoding="utf-8")
    with pytest.raises(ValueError, match="has no lines"):
        write(page, "new")
    assert page.read_text(encoding="utf-8") == "no markers"


def test_an_unknown_row_is_refused():
    with pytest.raises(SystemExit, match="2"):
        main(["--tiny", "no-such-row"])


def test_results_print_without_a_note():
    assert isinstance(ratio(Wording(what="w", against="a", unit="", bound=1), [(1, 1)]), Result)
