"""Charts: drawn from good data, refused for bad, and written nowhere but where they belong."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from state.errors import ToolError
from state.tool import ToolContext
from tools.charts import CHART, ChartArguments

TWO: dict[str, Any] = {"columns": ["region", "revenue"], "rows": [["North", 1200], ["South", -950.5]]}


def drawn(context: ToolContext, **arguments: Any) -> dict[str, Any]:
    given = {"kind": "bar", "title": "Revenue by region", **arguments}
    return asyncio.run(CHART.run(ChartArguments.model_validate(given), context))


def refused(context: ToolContext, **arguments: Any) -> ToolError:
    with pytest.raises(ToolError) as caught:
        drawn(context, **arguments)
    return caught.value


def attempted(out: Path, **arguments: Any) -> str:
    """The file's name, or what the error suggests instead."""
    try:
        return str(drawn(ToolContext(out=out), **arguments)["file"])
    except ToolError as error:
        return error.suggestion


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToolContext:
    monkeypatch.setenv("MOTET_HOME", str(tmp_path / "home"))
    return ToolContext(out=tmp_path / "out")


@pytest.mark.parametrize("form", ["png", "svg"])
def test_the_same_data_give_the_same_file(context: ToolContext, form: str) -> None:
    first = drawn(context, format=form, **TWO)
    path = context.out / first["file"]
    before = path.read_bytes()
    assert drawn(context, format=form, **TWO) == first
    assert path.read_bytes() == before
    assert before.startswith(b"\x89PNG" if form == "png" else b"<?xml")
    assert first["file"].startswith("revenue-by-region-")
    assert first["points"] == 2
    assert len(list(context.out.iterdir())) == 1


def test_other_data_give_another_file(context: ToolContext) -> None:
    other = {**TWO, "rows": [["North", 1], ["South", 2]]}
    assert drawn(context, **TWO)["file"] != drawn(context, **other)["file"]


@pytest.mark.parametrize("kind", ["bar", "line", "scatter"])
def test_every_kind_is_drawn_with_its_labels(context: ToolContext, kind: str) -> None:
    rows = [[2019, 5, 7], [2020, None, 8], [2021, -3, 9]]
    said = drawn(
        context,
        kind=kind,
        title="A & B",
        x="Year <AD>",
        y="Cost in $ of $",
        columns=["y", "a", "b"],
        rows=rows,
        format="svg",
    )
    assert said["points"] == 5
    assert (context.out / said["file"]).stat().st_size > 1000


@pytest.mark.parametrize("count", [1, 2, 12, 60, 150])
def test_few_and_many_bars_with_long_labels_are_drawn(context: ToolContext, count: int) -> None:
    rows = [[f"A rather long label, number {number}, which goes on and on " * 3, number - 5] for number in range(count)]
    assert drawn(context, columns=["label", "n"], rows=rows)["points"] == count


@pytest.mark.parametrize(
    "title", ["../../etc/passwd", "/absolute", "..", "a\0b", "\ud83d", "x" * 200, "日本語 グラフ", "$\\frac{1$"]
)
@pytest.mark.filterwarnings("ignore:Glyph")
def test_no_title_leads_out_of_the_folder(context: ToolContext, title: str) -> None:
    try:
        said = drawn(context, title=title, **TWO)
    except ValueError:
        return  # refused as an argument
    assert (context.out / said["file"]).resolve().parent == context.out.resolve()
    assert len(said["file"]) < 80


def test_a_link_in_the_way_is_replaced_and_not_followed(context: ToolContext, tmp_path: Path) -> None:
    name = drawn(context, **TWO)["file"]
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (context.out / name).unlink()
    (context.out / name).symlink_to(victim)
    drawn(context, **TWO)
    assert victim.read_text() == "precious"
    assert not (context.out / name).is_symlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either rows or a query"),
        ({"columns": ["a", "b"], "rows": [["x", 1]], "query": "SELECT 1"}, "either rows or a query"),
        ({"columns": ["a"], "rows": [["x"]]}, "a column for x"),
        ({"columns": ["a", "b"], "rows": [["x", "many"]]}, "'b' holds 'many' in row 1"),
        ({"columns": ["a", "b"], "rows": [["x", 1], ["y"]]}, "row 2 has 1 values for 2 columns"),
        ({"columns": ["a", "b"], "rows": [["x", float("inf")]]}, "no number to draw"),
        ({"columns": ["a", "b"], "rows": [["x", 10**400]]}, "no number to draw"),
        ({"kind": "scatter", "columns": ["a", "b"], "rows": [["x", 1]]}, "numbers along x"),
        ({"columns": ["a", "b"], "rows": [[str(n), n] for n in range(151)]}, "more than 150 bars"),
    ],
)
def test_data_that_make_no_chart_are_refused_with_a_way_on(context: ToolContext, arguments: dict, message: str) -> None:
    error = refused(context, **arguments)
    assert message in error.message
    assert error.suggestion


def test_a_chart_is_drawn_from_a_query(context: ToolContext, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "sales.csv").write_text("month,revenue\n2024-01-01,5\n2024-02-01,7\n2024-03-01,\n")
    both = ToolContext(docs=docs, out=context.out)
    assert drawn(both, kind="line", query="SELECT month, revenue FROM sales")["points"] == 2
    assert "no rows" in refused(both, query="SELECT month, revenue FROM sales WHERE 0").message
    assert "sales(month, revenue)" in refused(both, query="SELECT x FROM sale").suggestion


def test_a_run_without_an_output_folder_is_told_what_to_do() -> None:
    assert "no folder to write" in refused(ToolContext(), **TWO).message


def test_charts_drawn_at_once_do_not_disturb_each_other(context: ToolContext) -> None:
    async def many() -> list[dict]:
        charts = [ChartArguments(kind="bar", title=f"Chart {number % 3}", **TWO) for number in range(6)]
        return await asyncio.gather(*(CHART.run(each, context) for each in charts))

    asyncio.run(many())
    for number in range(3):
        before = {path.name: path.read_bytes() for path in context.out.iterdir()}
        said = drawn(context, title=f"Chart {number}", **TWO)
        assert (context.out / said["file"]).read_bytes() == before[said["file"]]


CELL = st.none() | st.integers() | st.floats() | st.text(max_size=5)


@given(
    st.sampled_from(["bar", "line", "scatter"]),
    st.lists(st.lists(CELL, min_size=2, max_size=3), max_size=4),
    st.text(max_size=10),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@pytest.mark.filterwarnings("ignore:Glyph")
def test_no_data_do_worse_than_a_tool_error(
    tmp_path_factory: pytest.TempPathFactory, kind: str, rows: list, name: str
) -> None:
    assert attempted(tmp_path_factory.getbasetemp() / "charts", kind=kind, columns=[name, name], rows=rows)
