"""Tables: what is in them, what SQL says about them, and nothing that only reading may not do."""

import asyncio
import json
import sqlite3
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.context import User
from state.errors import ToolError
from state.tool import ToolContext
from tools import sheets
from tools.columns import Judge
from tools.tables import QUERY, TABLES, QueryArguments, TablesArguments, select

SALES = "Region,Revenue,Share,Units sold\nNorth,$1,200.50,12%,3\n".replace("$1,200.50", '"$1,200.50"')
SALES += 'South,"$950.00",8%,\n'


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToolContext:
    monkeypatch.setenv("MOTET_HOME", str(tmp_path / "home"))
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "sales.csv").write_text(SALES)
    with sqlite3.connect(docs / "shop.db") as connection:
        connection.execute("CREATE TABLE customers(id INTEGER, name TEXT, region TEXT)")
        connection.execute("INSERT INTO customers VALUES (1, 'Ada', 'North'), (2, 'Bob', 'South')")
        connection.execute("CREATE VIEW northern AS SELECT * FROM customers WHERE region = 'North'")
    connection.close()
    return ToolContext(docs=docs)


def asked(sql: str, context: ToolContext, limit: int = 100) -> dict:
    return asyncio.run(QUERY.run(QueryArguments(sql=sql, limit=limit), context))


def listed(context: ToolContext, containing: str = "") -> dict:
    return asyncio.run(TABLES.run(TablesArguments(containing=containing), context))


def refused(sql: str, context: ToolContext) -> ToolError:
    with pytest.raises(ToolError) as caught:
        select(sql, context, limit=10)
    return caught.value


def attempted(sql: str, context: ToolContext) -> str:
    """The rows as JSON, or what the error suggests instead."""
    try:
        return json.dumps(select(sql, context, limit=5).rows)
    except ToolError as error:
        return error.suggestion


def test_the_list_says_what_there_is_to_query(context: ToolContext) -> None:
    said = listed(context)
    assert said["total"] == 3
    sales = said["tables"][0]
    assert sales == {
        "name": "sales",
        "file": "sales.csv",
        "columns": [
            {"name": "region", "type": "TEXT"},
            {"name": "revenue", "type": "REAL", "unit": "$"},
            {"name": "share", "type": "INTEGER", "unit": "%"},
            {"name": "units_sold", "type": "INTEGER"},
        ],
        "rows": 2,
        "sample": [["North", 1200.5, 12, 3], ["South", 950.0, 8, None]],
    }
    assert [table["name"] for table in said["tables"]] == ["sales", "shop.customers", "shop.northern"]
    assert [table["name"] for table in listed(context, "north")["tables"]] == ["shop.northern"]


def test_a_query_joins_files_and_databases(context: ToolContext) -> None:
    sql = "SELECT c.name, s.revenue FROM sales s JOIN shop.customers c ON c.region = s.region ORDER BY 2 DESC;"
    assert asked(sql, context) == {
        "columns": ["name", "revenue"],
        "rows": [["Ada", 1200.5], ["Bob", 950.0]],
        "truncated": False,
    }
    assert asked("WITH n AS (SELECT * FROM northern) SELECT count(*) FROM n", context)["rows"] == [[1]]
    assert asked("/* why */ -- so\n values (1)", context)["rows"] == [[1]]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM sales",
        "WITH x AS (SELECT 1) DELETE FROM sales",
        "WITH x AS (SELECT 1) INSERT INTO shop.customers SELECT 1, 2, 3",
        "DROP TABLE sales",
        "UPDATE shop.customers SET name = 'x'",
        "ATTACH '/etc/passwd' AS x",
        "PRAGMA writable_schema = 1",
        "VACUUM INTO 'x.db'",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE sales",
        "SELECT load_extension('x')",
        "SELECT * FROM sqlite_master",
        "SELECT * FROM shop.sqlite_schema",
        "SELECT * FROM temp.sqlite_temp_master",
        "SELECT * FROM main.motet_sheets",
        "SELECT count(*) FROM motet_sheets",
        "SELECT count(*) FROM Main.MOTET_Sheets",
        "SELECT * FROM pragma_database_list",
        "SELECT * FROM pragma_table_list",
        "EXPLAIN SELECT 1",
        "",
        "-- nothing",
        "SELECT '\0'",
        "SELECT '\ud800'",
        "SELECT",
        "SELECT * FROM nowhere",
    ],
)
def test_whatever_is_not_one_reading_statement_is_refused_with_the_tables_there_are(
    sql: str, context: ToolContext
) -> None:
    assert "sales(region, revenue, share, units_sold)" in refused(sql, context).suggestion
    assert asked("SELECT count(*) FROM sales, shop.customers", context)["rows"] == [[4]]


def test_the_table_most_like_the_one_asked_for_is_suggested_first(context: ToolContext) -> None:
    for number in range(9):
        (context.docs / f"a{number}.csv").write_text("x\n1\n")
    assert refused("SELECT * FROM sale", context).suggestion.startswith("the tables are sales(")


@given(st.text(max_size=80) | st.text(alphabet="selctfromwith *,;()'\"-/\0", max_size=80).map("select ".__add__))
@settings(max_examples=60, deadline=None)
def test_no_text_does_worse_than_a_tool_error(tmp_path_factory: pytest.TempPathFactory, sql: str) -> None:
    folder = _shared_folder(tmp_path_factory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOTET_HOME", str(folder.parent / "home"))
        assert attempted(sql, ToolContext(docs=folder))


def _shared_folder(factory: pytest.TempPathFactory) -> Path:
    folder = factory.getbasetemp() / "tables" / "docs"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "sales.csv").exists():
        (folder / "sales.csv").write_text(SALES)
    return folder


def test_a_query_that_runs_too_long_is_ended(context: ToolContext) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    began = time.monotonic()
    error = refused(endless, ToolContext(docs=context.docs, deadline=time.time() + 0.5))
    assert "ran longer" in error.message
    assert time.monotonic() - began < 5


def test_results_are_bounded_in_rows_and_size(context: ToolContext) -> None:
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000) SELECT i, {} FROM n"
    few = asked(numbers.format("'x'"), context, limit=7)
    assert (len(few["rows"]), few["truncated"]) == (7, True)
    wide = asked(numbers.format("printf('%.*c', 5000, 'x')"), context, limit=1000)
    assert wide["truncated"]
    assert len(json.dumps(wide)) < 100_000
    assert "too big" in refused("SELECT zeroblob(900000000)", context).message
    assert asked("SELECT x'0102', 9e999, 1 LIMIT 1", context)["rows"] == [["<2 bytes>", "inf", 1]]


def test_a_user_neither_sees_nor_reads_the_tables_of_others(context: ToolContext) -> None:
    (context.docs / "pay.csv").write_text("who,pay\nAda,100\n")
    (context.docs / ".motet-access.toml").write_text('"pay.csv" = ["hr"]\n"shop.db" = ["hr"]\n')
    hr = ToolContext(docs=context.docs, user=User(identity="h", groups=("hr",)))
    assert asked("SELECT pay FROM pay", hr)["rows"] == [[100]]
    assert [table["name"] for table in listed(context)["tables"]] == ["sales"]
    with sqlite3.connect(next((context.docs.parent / "home" / "tables").glob("*.db"))) as cache:
        stored = {name for (name,) in cache.execute("SELECT name FROM motet_sheets WHERE file = 'pay.csv'")}
    cache.close()
    sneaky = [
        sql.format(name)
        for name in stored
        for sql in ("SELECT * FROM main.{}", "SELECT count(*) FROM {}", "SELECT 1 FROM MAIN.[{}]", "SELECT * FROM {} x")
    ]
    assert sneaky
    for sql in ("SELECT * FROM pay", "SELECT * FROM shop.customers", *sneaky, *(each.upper() for each in sneaky)):
        error = refused(sql, context)
        assert "customers(" not in error.suggestion
        assert "pay(" not in error.suggestion


def test_links_and_files_outside_are_no_tables(context: ToolContext, tmp_path: Path) -> None:
    (tmp_path / "outside.csv").write_text("secret\n1\n")
    (context.docs / "inside.csv").symlink_to(tmp_path / "outside.csv")
    (context.docs / "inside.db").symlink_to(tmp_path / "outside.csv")
    assert "inside" not in json.dumps(listed(context))


@pytest.mark.parametrize(
    ("cells", "kind", "unit", "values"),
    [
        (["1", "-20", ""], "INTEGER", "", [1, -20, None]),
        (["1.5", "2", "1e3"], "REAL", "", [1.5, 2.0, 1000.0]),
        (["1,234", "5"], "INTEGER", "", [1234, 5]),
        (["1,234.50", "5"], "REAL", "", [1234.5, 5.0]),
        (["1.234,50", "5"], "REAL", "", [1234.5, 5.0]),
        (["12,5", "3"], "REAL", "", [12.5, 3.0]),
        (["1.234", "2.345"], "REAL", "", [1.234, 2.345]),
        (["12%", "3.5%"], "REAL", "%", [12.0, 3.5]),
        (["$1,200", "-$5", "($7)"], "INTEGER", "$", [1200, -5, -7]),
        (["12 EUR", "13 EUR"], "INTEGER", "EUR", [12, 13]),
        (["1", "n/a", "-"], "INTEGER", "", [1, None, None]),
        (["$1", "€2"], "TEXT", "", ["$1", "€2"]),
        (["1%", "2"], "TEXT", "", ["1%", "2"]),
        (["1.5", "2,5"], "TEXT", "", ["1.5", "2,5"]),
        (["007", "12"], "TEXT", "", ["007", "12"]),
        (["12345678901234567890"], "TEXT", "", ["12345678901234567890"]),
        (["2024-01-02"], "TEXT", "", ["2024-01-02"]),
        (["1", "two"], "TEXT", "", ["1", "two"]),
        (["", ""], "TEXT", "", [None, None]),
    ],
)
def test_numbers_are_numbers_only_where_the_whole_column_agrees(
    cells: list[str], kind: str, unit: str, values: list[object]
) -> None:
    judge = Judge()
    for cell in cells:
        judge.see(cell)
    column = judge.column("x")
    assert (column.type, column.unit) == (kind, unit)
    assert [column.value(cell) for cell in cells] == values


@given(st.lists(st.text(alphabet="0123456789.,-+%$€() eE", max_size=12).map(str.strip), max_size=8))
def test_a_column_of_any_cells_holds_values_of_its_type(cells: list[str]) -> None:
    judge = Judge()
    for cell in cells:
        judge.see(cell)
    column = judge.column("x")
    kinds = {"INTEGER": int, "REAL": float, "TEXT": str}
    assert all(value is None or isinstance(value, kinds[column.type]) for value in map(column.value, cells))


@pytest.mark.parametrize(
    ("file", "data", "columns", "rows"),
    [
        ("a.csv", b"x;y\n1;2\n", ["x", "y"], [[1, 2]]),
        ("a.tsv", b"x\ty\n1\t2\n", ["x", "y"], [[1, 2]]),
        ("a.csv", b"\xef\xbb\xbfx,y\r\n1,2\r\n\r\n", ["x", "y"], [[1, 2]]),
        ("a.csv", "größe,y\nß,2\n".encode("latin-1"), ["größe", "y"], [["ß", 2]]),
        ("a.csv", "x,y\n1,2\n".encode("utf-16"), ["x", "y"], [[1, 2]]),
        ("a.csv", b"1,2\n3,4\n", ["column_1", "column_2"], [[1, 2], [3, 4]]),
        ("a.csv", b"x,x,\n1,2,3,4\n5\n", ["x", "x_2", "column_3", "column_4"], [[1, 2, 3, 4], [5, None, None, None]]),
        ("a.csv", b'x,y\n"a, ""b""\nc",2\n', ["x", "y"], [['a, "b"\nc', 2]]),
        ("a.csv", b"x,y\n", ["x", "y"], []),
    ],
)
def test_a_sheet_nobody_prepared_is_read(
    context: ToolContext, file: str, data: bytes, columns: list[str], rows: list[list[object]]
) -> None:
    (context.docs / file).write_bytes(data)
    assert asked("SELECT * FROM a", context) == {"columns": columns, "rows": rows, "truncated": False}


def test_what_is_no_table_is_named_with_the_reason(context: ToolContext) -> None:
    (context.docs / "empty.csv").write_text("")
    (context.docs / "binary.csv").write_bytes(b"a,b\n\0,1\n")
    (context.docs / "fake.db").write_text("no database at all, but long enough to be looked at " * 40)
    (context.docs / "wide.csv").write_text(",".join("x" for _ in range(3000)) + "\n")
    (context.docs / "quote.csv").write_text('a,b\n"' + "x" * 200_000 + "\n")
    said = {each["file"]: each["reason"] for each in listed(context)["skipped"]}
    assert said["empty.csv"] == "empty"
    assert "NUL" in said["binary.csv"]
    assert "SQLite" in said["fake.db"]
    assert "columns" in said["wide.csv"]
    assert "separated" in said["quote.csv"]


@pytest.mark.parametrize(
    ("file", "name"),
    [("order.csv", "t_order"), ("2024 Q1.csv", "t_2024_q1"), ("-.csv", "table_1"), ("sub/sales.csv", "sales")],
)
def test_names_of_tables_need_no_quotes(context: ToolContext, file: str, name: str) -> None:
    (context.docs / file).parent.mkdir(exist_ok=True)
    (context.docs / "sales.csv").unlink()
    (context.docs / file).write_text("x\n1\n")
    assert asked(f"SELECT x FROM {name}", context)["rows"] == [[1]]


def test_files_of_one_name_are_told_apart(context: ToolContext) -> None:
    (context.docs / "sub").mkdir()
    (context.docs / "sub" / "Sales.csv").write_text("x\n1\n")
    assert {table["name"]: table["file"] for table in listed(context)["tables"] if "sales" in table["name"]} == {
        "sales": "sales.csv",
        "sales_2": "sub/Sales.csv",
    }


def test_a_sheet_is_loaded_once_and_again_when_it_changes(
    context: ToolContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    path = context.docs / "sales.csv"
    os.utime(path, (time.time() - 3600, time.time() - 3600))
    loads: list[str] = []
    real = sheets._load
    monkeypatch.setattr(sheets, "_load", lambda connection, found: loads.append(found.file) or real(connection, found))
    for _ in range(3):
        asked("SELECT 1 FROM sales", context)
    assert loads == ["sales.csv"]
    path.write_text("region\nEast\n")
    assert asked("SELECT * FROM sales", context)["rows"] == [["East"]]
    path.unlink()
    assert "no such table" in refused("SELECT * FROM sales", context).message


def test_a_hundred_thousand_rows_load_in_seconds_and_are_counted(context: ToolContext) -> None:
    (context.docs / "big.csv").write_text(
        "id,name,price\n" + "".join(f"{n},thing {n},{n / 7:.2f}\n" for n in range(100_000))
    )
    began = time.monotonic()
    assert asked("SELECT count(*), typeof(max(price)) FROM big", context)["rows"] == [[100_000, "real"]]
    assert time.monotonic() - began < 20


def test_many_queries_may_run_at_once(context: ToolContext) -> None:
    async def many() -> list[dict]:
        sql = QueryArguments(sql="SELECT count(*) AS n FROM sales")
        return await asyncio.gather(*(QUERY.run(sql, context) for _ in range(12)))

    assert all(result["rows"] == [[2]] for result in asyncio.run(many()))


def test_a_run_without_documents_is_told_what_to_do() -> None:
    with pytest.raises(ToolError, match="no folder") as caught:
        asyncio.run(TABLES.run(TablesArguments(), ToolContext()))
    assert "--docs" in caught.value.suggestion
