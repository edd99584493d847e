import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import StateGraph

from graphs import research
from graphs.bind import bind
from motet.report import write_report
from nodes.prompt import CITED
from state.agent import Agent
from state.context import User
from state.errors import ContractError
from state.research import (
    SUMMARY,
    Findings,
    Plan,
    Verdicts,
    abstract,
    assignments,
    fault,
    fault_of_figures,
    gathered,
    standing,
)
from state.task import Task
from tools.documents import library_of

HANDBOOK = """# Handbook

## Refunds

Customers may return unopened goods within 30 days of delivery. After 30 days we give store credit only, never cash.

## Holidays

Every employee has 27 days of paid holiday per year. Holiday requests go to the team lead.

## Security

Laptops must be encrypted with LUKS. A lost laptop is reported to security@example.org within one hour.
"""
SALES = "region,product,revenue\nNorth,tea,120\nSouth,tea,80\nNorth,coffee,200\nSouth,coffee,50\n"


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOTET_HOME", str(tmp_path / "home"))
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "handbook.md").write_text(HANDBOOK)
    (folder / "sales.csv").write_text(SALES)
    return folder


async def ask(question: str, docs: Path, graph: Any = research.graph) -> dict[str, Any]:
    return dict(await graph.ainvoke({"task": question}, context={"docs": str(docs)}))


def holds(text: str, docs: Path) -> bool:
    """Whether every sentence of an answer stands in the passage it cites."""
    library = library_of(docs)
    found = [library.passage(source) for source in CITED.findall(text)]
    pairs = zip(CITED.split(text)[::2], found, strict=False)
    return bool(found) and all(p and " ".join(words.split()) in " ".join(p.text.split()) for words, p in pairs)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What do customers get after 30 days?", "store credit"),
        ("How many days of paid holiday does an employee have?", "27 days"),
        ("Where is a lost laptop reported?", "security@example.org"),
    ],
)
async def test_an_answer_cites_passages_that_exist_and_say_so(question: str, answer: str, docs: Path) -> None:
    state = await ask(question, docs)
    assert state["outcome"] == "completed"
    assert answer in state["answer"]["text"]
    assert len(state["answer"]["text"]) <= SUMMARY
    assert holds(state["answer"]["text"], docs)
    assert state["answer"]["citations"] == list(dict.fromkeys(CITED.findall(state["answer"]["text"])))


async def test_each_part_of_a_question_is_answered(docs: Path) -> None:
    state = await ask("What do customers get after 30 days? How many days of paid holiday are there?", docs)
    assert "store credit" in state["answer"]["text"]
    assert "27 days" in state["answer"]["text"]


@pytest.mark.parametrize(
    "question", ["Who founded the company in Vienna?", "Which Kubernetes version runs the warehouse robots?"]
)
async def test_what_the_documents_do_not_say_is_refused_in_plain_words(question: str, docs: Path) -> None:
    state = await ask(question, docs)
    assert state["outcome"] == "completed"
    assert state["reason"] == "nothing in the documents answers this"
    assert state["answer"]["text"].startswith("The documents do not say")
    assert state["answer"]["citations"] == []


async def test_figures_are_computed_from_tables_and_their_select_is_shown(docs: Path) -> None:
    state = await ask("What is the total revenue in the North?", docs)
    [claim] = [c for c in state["answer"]["claims"] if c["sql"]]
    assert "320" in claim["text"]
    assert "320" in state["answer"]["text"]
    assert claim["citation"] == "sales.csv"
    assert "(from sales.csv)" in state["answer"]["text"]
    assert holds(state["answer"]["text"], docs)


async def test_a_computed_row_is_cited_where_its_passage_holds_it_word_for_word(docs: Path) -> None:
    state = await ask("Which region and product has the highest revenue?", docs)
    [claim] = [c for c in state["answer"]["claims"] if c["sql"]]
    assert claim["quote"] == "region: North; product: coffee; revenue: 200"
    assert claim["citation"].startswith("sales.csv#")
    assert holds(state["answer"]["text"], docs)


async def test_a_condition_that_no_sample_row_shows_is_looked_up_before_it_counts(docs: Path) -> None:
    rows = "".join(f"East,tea,{n}\n" for n in range(40)) + "West,coffee,7\nWest,tea,4\n"
    (docs / "orders.csv").write_text("region,product,amount\n" + rows)
    state = await ask("What is the total amount in the West?", docs)
    [claim] = [c for c in state["answer"]["claims"] if c["sql"]]
    assert "11" in claim["text"]
    other = await ask("What is the total amount on the Moon?", docs)
    assert not [c for c in other["answer"]["claims"] if c["sql"]]


async def test_in_a_small_folder_one_unknown_word_is_no_reason_to_refuse(docs: Path) -> None:
    state = await ask("What is the refund policy?", docs)
    assert state["answer"]["citations"][0] == "handbook.md#refunds"


async def test_what_a_user_may_not_see_is_neither_quoted_nor_counted(docs: Path) -> None:
    (docs / ".motet-access.toml").write_text('"secret.md" = ["board"]\n')
    (docs / "secret.md").write_text("# Plans\n\nThe zanzibar project starts in May.\n")
    asked = {"task": "When does the zanzibar project start?"}
    outside = await research.graph.ainvoke(asked, context={"docs": str(docs)})
    inside = await research.graph.ainvoke(
        asked, context={"docs": str(docs), "user": {"identity": "ann", "groups": ["board"]}}
    )
    assert outside["answer"]["claims"] == []
    assert "May" in inside["answer"]["text"]
    library = library_of(docs)
    assert library.occurrences("zanzibar") == ({"zanzibar": 0}, 4)
    assert library.occurrences("zanzibar", user=User(groups=("board",))) == ({"zanzibar": 1}, 5)


def findings(*claims: dict[str, Any]) -> Any:
    return lambda task: {"claims": [{"confidence": 0.9, **claim} for claim in claims]}


def nothing(task: Task) -> dict[str, Any]:
    return {}


def team(**by: Any) -> Any:
    """The research team with some of its agents answered for by functions."""
    contracts = {"technical": research.TECHNICAL, "context": research.CONTEXT, "data": research.DATA}
    contracts |= {"planner": research.PLANNER, "checker": research.CHECKER, "writer": research.WRITER}
    agents: dict[str, Any] = {}
    for role, function in by.items():
        old = contracts[role]
        agents[role] = bind(
            Agent(name=old.name, responsibility=old.responsibility, output=old.output, on_failure=old.on_failure),
            function,
        )
    return research.build(**agents)


async def test_a_claim_its_passage_does_not_hold_never_reaches_the_answer(docs: Path) -> None:
    invented = {"text": "Cash after 90 days.", "quote": "we give cash after 90 days", "citation": "handbook.md#refunds"}
    nowhere = {"text": "Cash.", "quote": "never cash", "citation": "handbook.md#cash"}
    true = {"text": "No cash.", "quote": "store credit only, never cash", "citation": "handbook.md#refunds"}
    graph = team(technical=findings(invented, nowhere, true), context=nothing)
    state = await ask("Do customers get cash?", docs, graph)
    assert [c["quote"] for c in state["answer"]["claims"]] == [true["quote"]]
    assert state["answer"]["text"] == "store credit only, never cash [handbook.md#refunds]"


async def test_a_claim_that_says_more_than_its_quote_is_rejected_by_the_judge(docs: Path) -> None:
    bold = {
        "text": "The board reimburses everything in Bitcoin.",
        "quote": "we give store credit only",
        "citation": "handbook.md#refunds",
    }
    state = await ask("What is reimbursed?", docs, team(technical=findings(bold), context=nothing))
    assert state["answer"]["claims"] == []
    assert state["answer"]["text"].startswith("The documents do not say")


async def test_a_figure_its_select_does_not_give_is_rejected(docs: Path) -> None:
    sql = "SELECT sum(revenue) FROM sales"
    right = {"text": "The sum is 450.", "citation": "sales.csv", "sql": sql}
    wrong = {"text": "The sum is 999.", "citation": "sales.csv", "sql": sql}
    graph = team(
        planner=lambda task: {"parts": [task.goal], "figures": True}, data=findings(right, wrong),
        technical=nothing, context=nothing,
        checker=lambda task: {"verdicts": [{"claim": c["id"], "supported": True} for c in task.context["claims"]]},
    )  # fmt: skip
    state = await ask("What is the sum?", docs, graph)
    assert [c["text"] for c in state["answer"]["claims"]] == ["The sum is 450."]


def broken(task: Task) -> dict[str, Any]:
    raise RuntimeError("the line is dead")


async def test_a_researcher_that_fails_leaves_the_rest_and_is_named(docs: Path) -> None:
    state = await ask("What do customers get after 30 days?", docs, team(technical=broken))
    assert state["outcome"] == "degraded"
    assert "technical/0 failed" in state["reason"]
    assert "the line is dead" in state["reason"]
    assert "store credit" in state["answer"]["text"]
    assert any("technical" in missing for missing in state["answer"]["missing"])


async def test_without_any_researcher_there_is_no_answer(docs: Path) -> None:
    state = await ask("What do customers get?", docs, team(technical=broken, context=broken))
    assert state["outcome"] == "failed"
    assert state["answer"] is None
    assert "technical/0" in state["reason"]
    assert "context/0" in state["reason"]


@pytest.mark.parametrize("role", ["planner", "checker", "writer"])
async def test_without_planner_checker_or_writer_the_mechanics_go_on(role: str, docs: Path) -> None:
    state = await ask("What do customers get after 30 days?", docs, team(**{role: broken}))
    assert state["outcome"] == "degraded"
    assert research.CHECKER.name in state["reason"] if role == "checker" else role in state["reason"]
    assert holds(state["answer"]["text"], docs)


async def test_a_summary_that_cites_what_was_not_checked_gives_way_to_the_claims(docs: Path) -> None:
    graph = team(writer=lambda task: {"text": "Trust me. [handbook.md#holidays-of-others]"})
    state = await ask("What do customers get after 30 days?", docs, graph)
    assert state["outcome"] == "degraded"
    assert holds(state["answer"]["text"], docs)


async def test_a_second_turn_on_a_thread_sees_nothing_of_the_first(docs: Path) -> None:
    graph = research.graph.copy({"checkpointer": InMemorySaver()})
    config = {"configurable": {"thread_id": "one"}}
    context = {"docs": str(docs)}
    first = await graph.ainvoke({"task": "What do customers get after 30 days?"}, config, context=context)
    second = await graph.ainvoke({"task": "How many days of paid holiday are there?"}, config, context=context)
    third = await graph.ainvoke({"task": "Who founded the company in Vienna?"}, config, context=context)
    assert "store credit" in first["answer"]["text"]
    assert "27 days" in second["answer"]["text"]
    assert all("refunds" not in c for c in second["answer"]["citations"])
    assert third["answer"]["claims"] == []
    assert len(third["messages"]) == 6


async def test_without_a_folder_it_says_what_is_missing() -> None:
    state = await research.graph.ainvoke({"task": "What do customers get?"}, context={})
    assert state["outcome"] == "failed"
    assert "--docs" in state["reason"]
    assert state["usage"]["total"]["calls"] == 0


async def test_the_report_holds_question_answer_findings_and_cost(docs: Path, tmp_path: Path) -> None:
    config = {"configurable": {"thread_id": "t"}}
    question = "Draw a chart of the total revenue per region."
    state = await research.graph.ainvoke({"task": question}, config, context={"docs": str(docs)})
    path = write_report(state, tmp_path / "reports", thread="t")
    text = path.read_text()
    assert text.startswith(f"# {question}")
    assert state["answer"]["text"] in text
    assert "| planner | 1 |" in text
    assert "SELECT" in text
    [chart] = state["answer"]["charts"]
    assert f"]({chart['file']})" in text
    assert (path.parent / chart["file"]).stat().st_size > 0
    assert write_report(state, tmp_path / "reports", thread="t") == path


def test_an_agent_with_another_output_is_refused_at_build() -> None:
    with pytest.raises(ContractError, match=r"'technical'.*Findings"):
        research.build(technical=Agent(name="technical", responsibility="Finds."))


def test_the_drawing_has_the_researchers_side_by_side() -> None:
    edges = sorted((e.source, e.target) for e in research.graph.get_graph().edges)
    assert edges == [
        ("__start__", "begin"),
        ("begin", "plan"),
        ("conclude", "finish"),
        ("context", "verify"),
        ("data", "verify"),
        ("finish", "__end__"),
        ("judge", "conclude"),
        ("judge", "write"),
        ("plan", "context"),
        ("plan", "data"),
        ("plan", "finish"),
        ("plan", "technical"),
        ("technical", "verify"),
        ("verify", "conclude"),
        ("verify", "judge"),
        ("write", "conclude"),
    ]


def test_the_researchers_loops_are_seen_from_outside() -> None:
    assert {name for name, _ in research.graph.get_subgraphs()} == {"technical", "context", "data"}
    assert isinstance(research.graph.builder, StateGraph)


# The pure decisions.

words = st.text("abc \n", min_size=1, max_size=30)


@given(words, words, words)
def test_a_quote_stands_exactly_when_its_words_do(before: str, quote: str, after: str) -> None:
    claim = {"quote": quote, "citation": "a.md#b"}
    found = fault(claim, f"{before} {quote} {after}".upper())
    assert (found == "") == bool(quote.strip())


def test_a_quote_that_is_not_there_or_from_nowhere_is_a_fault() -> None:
    assert "no passage" in fault({"quote": "x", "citation": "a#b"}, None)
    assert "do not stand" in fault({"quote": "x y", "citation": "a#b"}, "x z y")


def test_emphasis_and_the_shape_of_quotation_marks_are_no_difference() -> None:
    claim = {"quote": "Use 'blue' and --fast", "citation": "a#b"}
    assert fault(claim, "Use ‘blue’ and **`--fast`** only.") == ""
    assert fault({**claim, "quote": "**"}, "Use blue.") == "it quotes nothing"


def test_figures_must_be_in_the_rows() -> None:
    claim = {"text": "North made 1,320.50 in 2024.", "sql": "SELECT … WHERE year = 2024"}
    assert fault_of_figures(claim, [["North", 1320.5]]) == ""
    assert "1320.5 is not in" in fault_of_figures(claim, [["North", 7]])
    assert "no row" in fault_of_figures(claim, [])
    assert "does not run" in fault_of_figures(claim, None)


def test_figures_are_given_to_the_data_researcher_only_when_asked_for() -> None:
    assert [(role, n) for role, n, _, _ in assignments(Plan(parts=["a", "b"]))] == [
        ("technical", 0), ("context", 0), ("technical", 1), ("context", 1),
    ]  # fmt: skip
    assert ("data", 0) in [(role, n) for role, n, _, _ in assignments(Plan(parts=["a"], figures=True))]


def claim(quote: str, source: str, sure: float) -> dict[str, Any]:
    return {"text": quote, "quote": quote, "citation": f"{source}.md#x", "confidence": sure, "sql": ""}


claims = st.builds(
    claim, st.sampled_from(["one two three", "four five six", "seven"]), st.sampled_from("abc"), st.floats(0, 1)
)
found_by = st.dictionaries(
    st.sampled_from(["technical/0", "context/0", "technical/1", "data/1"]),
    st.lists(claims, max_size=5).map(lambda c: {"claims": c}),
)


@given(found_by)
def test_gathered_claims_are_distinct_numbered_and_none_is_lost(findings: dict[str, Any]) -> None:
    all_of = gathered(findings)
    assert [c["id"] for c in all_of] == list(range(len(all_of)))
    pairs = [(c["citation"], c["quote"]) for c in all_of]
    assert len(set(pairs)) == len(pairs)
    assert set(pairs) == {(c["citation"], c["quote"]) for f in findings.values() for c in f["claims"]}
    assert gathered(dict(reversed(findings.items()))) == all_of


@given(found_by, st.lists(st.tuples(st.integers(0, 12), st.booleans(), st.booleans())))
def test_only_what_was_judged_supported_stands(findings: dict[str, Any], said: list[tuple[int, bool, bool]]) -> None:
    every = gathered(findings)
    verdicts = [{"claim": n, "supported": s, "answers": a, "why": ""} for n, s, a in said]
    good, bad = standing(every, verdicts)
    assert {c["id"] for c in good} | {c["id"] for c in bad} == {c["id"] for c in every}
    assert all(c["id"] in {n for n, s, a in said if s and a} for c in good)
    assert all(c["why"] for c in bad)


@given(st.lists(claims, max_size=9))
def test_an_abstract_is_never_too_long(found: list[dict[str, Any]]) -> None:
    assert len(abstract(found)) <= SUMMARY
    assert bool(abstract(found)) == bool(found)


def test_the_outputs_survive_json() -> None:
    for model, value in ((Findings, {"claims": []}), (Verdicts, {"verdicts": []}), (Plan, {"parts": ["a"]})):
        assert model.model_validate(json.loads(model.model_validate(value).model_dump_json()))
