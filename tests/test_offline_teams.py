"""Every pattern, as `motet run` runs it without a key, over a small folder: what one agent would answer, or better."""

import re
from pathlib import Path
from typing import Any

import pytest
from makers import DEFAULTS

from nodes.prompt import CITED
from tools.documents import library_of

NOTES = """# Notes of the shop

## Refunds

Customers may return unopened goods within 30 days of delivery. After 30 days we give store credit only, never cash.

## Holidays

Every employee has 27 days of paid holiday per year. Holiday requests go to the team lead.

## Security

Laptops must be encrypted with LUKS. A lost laptop is reported to security@example.org within one hour.
"""
SALES = "region,product,revenue\nNorth,tea,120\nSouth,tea,80\nNorth,coffee,200\nSouth,coffee,50\n"
ASKED = sorted(set(DEFAULTS) - {"negotiation"})  # which answers no questions: its default graph bargains over terms
NOTHING = re.compile(r"found nothing")


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOTET_HOME", str(tmp_path / "home"))
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "notes.md").write_text(NOTES)
    (folder / "sales.csv").write_text(SALES)
    return folder


async def ask(name: str, question: str, docs: Path) -> dict[str, Any]:
    found = dict(await DEFAULTS[name].ainvoke({"task": question}, context={"docs": str(docs)}))
    assert found["outcome"] == "completed", found["reason"]
    return found


def holds(text: str, docs: Path) -> bool:
    """Whether every quote stands in the passage that it cites, and there is one."""
    library = library_of(docs)
    pairs = list(zip(CITED.split(text)[::2], map(library.passage, CITED.findall(text)), strict=False))
    return bool(pairs) and all(p and " ".join(words.split()) in " ".join(p.text.split()) for words, p in pairs)


@pytest.mark.parametrize("name", ASKED)
async def test_a_fact_comes_with_the_passage_that_holds_it(name: str, docs: Path) -> None:
    text = (await ask(name, "What do customers get after 30 days?", docs))["answer"]["text"]
    assert "store credit" in text
    assert text.count("store credit") == 1
    assert holds(text, docs)


@pytest.mark.parametrize("name", ASKED)
async def test_a_figure_is_computed_and_says_from_what(name: str, docs: Path) -> None:
    text = (await ask(name, "What is the total revenue of tea?", docs))["answer"]["text"]
    assert "200 (from sales.csv)" in text


@pytest.mark.parametrize("name", ASKED)
async def test_a_question_of_two_parts_has_both_answered(name: str, docs: Path) -> None:
    question = "How many days of paid holiday has an employee, and where is a lost laptop reported?"
    text = (await ask(name, question, docs))["answer"]["text"]
    assert "27 days" in text
    assert "security@example.org" in text
    assert holds(text, docs)


@pytest.mark.parametrize("name", ASKED)
async def test_what_nothing_answers_is_admitted_and_no_source_is_named(name: str, docs: Path) -> None:
    text = (await ask(name, "Who is the mayor of Vienna?", docs))["answer"]["text"]
    assert NOTHING.search(text)
    assert not CITED.findall(text)


@pytest.mark.parametrize("name", sorted(set(ASKED) - {"research"}))  # which computes over tables only
async def test_a_sum_in_words_reaches_the_calculator(name: str, docs: Path) -> None:
    assert "= 42" in (await ask(name, "What is the sum of 17 and 25?", docs))["answer"]["text"]


async def test_a_negotiation_ends_in_terms_whatever_it_is_asked(docs: Path) -> None:
    found = await ask("negotiation", "What do customers get after 30 days?", docs)
    assert "Agreed: price" in found["answer"]["text"]


async def test_a_router_is_sure_of_the_one_whose_description_fits(docs: Path) -> None:
    found = await ask("router", "What is the total revenue of tea?", docs)
    assert "analyst" in found["usage"]
    assert not found["reason"]
    found = await ask("router", "What do customers get after 30 days?", docs)
    assert "librarian" in found["usage"]
    assert not found["reason"]


async def test_a_conversation_does_not_say_the_same_again(docs: Path) -> None:
    found = await ask("group_chat", "What do customers get after 30 days?", docs)
    said = [m.text for m in found["talk"]]
    assert len([text for text in said if "store credit" in text]) == 1
    assert {m.name for m in found["talk"]} == {"researcher", "skeptic", "advocate"}


async def test_every_peer_who_fits_as_well_is_asked(docs: Path) -> None:
    found = await ask("mesh", "What do customers get after 30 days?", docs)
    assert {"facts", "doubts"} <= set(found["usage"])


async def test_who_found_nothing_is_followed_by_who_was_not_asked_yet(docs: Path) -> None:
    found = await ask("magentic", "Who is the mayor of Vienna?", docs)
    assert {"researcher", "analyst"} <= set(found["usage"])
