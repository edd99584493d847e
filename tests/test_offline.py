import json
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from pydantic import BaseModel, Field

from nodes.prompt import CITED
from runtime.models import most_tokens
from runtime.offline import Offline
from runtime.offline.forms import fill
from runtime.offline.schema import fits
from runtime.offline.sums import sums
from runtime.offline.text import flat, sentences
from state.plan import Plan

PASSAGES = [
    {
        "reference": "handbook.md#refunds",
        "heading": "Handbook > Refunds",
        "text": "Unopened goods may be returned within 30 days. After 30 days only store credit is given.",
    },
    {
        "reference": "handbook.md#holidays",
        "heading": "Handbook > Holidays",
        "text": "Every employee has 27 days of paid holiday.\nRequests go to the team lead.",
    },
]
SEARCH = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Finds the passages of the documents that hold the words of a query",
        "parameters": {
            "type": "object",
            "properties": {"query": {"type": "string"}, "limit": {"type": "integer", "minimum": 1, "maximum": 30}},
            "required": ["query"],
        },
    },
}


def searched(question: str, passages: list[dict[str, str]] = PASSAGES) -> list[BaseMessage]:
    result = json.dumps({"value": {"passages": passages, "total": len(passages)}})
    call = {"name": "search", "args": {"query": question}, "id": "c1", "type": "tool_call"}
    return [
        SystemMessage("Answers questions from documents."),
        HumanMessage(question),
        AIMessage("", tool_calls=[call]),
        ToolMessage(result, tool_call_id="c1", name="search"),
    ]


# Schemas as functions have them: every keyword that pydantic writes, nested, with references and alternatives.
small = st.integers(0, 9)
numbers = st.one_of(
    st.builds(
        lambda low, more: {"type": "integer", "minimum": low, "maximum": low + more}, st.integers(-50, 50), small
    ),
    st.builds(lambda low: {"type": "number", "exclusiveMinimum": low}, st.integers(-5, 5)),
    st.builds(lambda step: {"type": "integer", "multipleOf": step, "minimum": 1}, st.integers(1, 7)),
    st.just({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
)
PATTERNS = [r"^[a-z]{3}-\d{2,4}$", r"^(yes|no)$", r"^s\d+$", r"[A-Z][a-z]+", r"^\S+@\S+$", r"^#?[0-9a-f]{6}$"]
FORMATS = ["date", "date-time", "email", "uri", "uuid", "ipv4"]
strings = st.one_of(
    st.builds(lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more}, small, small),
    st.sampled_from(PATTERNS).map(lambda pattern: {"type": "string", "pattern": pattern}),
    st.sampled_from(FORMATS).map(lambda form: {"type": "string", "format": form}),
)
values = st.lists(st.one_of(st.integers(), st.text(max_size=5), st.none()), min_size=1, max_size=4)
plain = st.one_of(
    numbers,
    strings,
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    values.map(lambda v: {"enum": v}),
    st.one_of(st.integers(), st.text(max_size=5), st.booleans()).map(lambda v: {"const": v}),
    st.just({"$ref": "#/$defs/Step"}),
    st.just({}),
)  # fmt: skip
FIELDS = st.sampled_from(
    ["text", "citations", "worker", "confidence", "steps", "claims", "verdict", "supported", "x", "n"]
)


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def made(fields: dict[str, Any], needed: set[str], closed: bool) -> dict[str, Any]:
        schema = {"type": "object", "properties": fields, "required": sorted(needed & set(fields))}
        return schema | ({"additionalProperties": False} if closed else {})

    return st.builds(made, st.dictionaries(FIELDS, inner, max_size=4), st.sets(FIELDS), st.booleans())


def deeper(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    arrays = st.builds(
        lambda items, low, width: {"type": "array", "items": items, "minItems": low, "maxItems": low + width},
        inner, st.integers(0, 3), st.integers(0, 3),
    )  # fmt: skip
    either = st.lists(inner, min_size=1, max_size=3).map(lambda options: {"anyOf": options})
    pairs = st.tuples(inner, inner).map(lambda two: {"type": "array", "prefixItems": list(two), "minItems": 2})
    mapping = inner.map(lambda value: {"type": "object", "additionalProperties": value})
    return st.one_of(objects(inner), arrays, either, pairs, mapping, inner.map(lambda s: {"allOf": [s]}))


STEP = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "minLength": 1},
        "worker": {"enum": ["reader", "counter"]},
        "needs": {"type": "array", "items": {"type": "string"}},
        "parent": {"anyOf": [{"$ref": "#/$defs/Step"}, {"type": "null"}]},
    },
    "required": ["id", "worker"],
    "additionalProperties": False,
}
schemas = objects(st.recursive(plain, deeper, max_leaves=8)).map(lambda s: {**s, "$defs": {"Step": STEP}})


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(schemas)
def test_any_schema_gets_arguments_that_are_valid_under_it(schema: dict[str, Any]) -> None:
    tool = {"type": "function", "function": {"name": "Answer", "description": "", "parameters": schema}}
    said = Offline().bind_tools([tool], tool_choice="Answer").invoke("What is refunded and who counts it?")
    [call] = said.tool_calls
    assert call["name"] == "Answer"
    jsonschema.Draft202012Validator(schema).validate(call["args"])


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    schemas,
    st.recursive(st.none() | st.integers() | st.text(max_size=4), lambda v: st.lists(v) | st.dictionaries(FIELDS, v)),
)
def test_its_own_check_of_a_schema_agrees_with_the_standard(schema: dict[str, Any], value: Any) -> None:
    assert fits(value, schema, schema) == jsonschema.Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "integer"}, "minItems": 4, "uniqueItems": True},
        {"type": "array", "contains": {"const": 7}, "minItems": 2},
        {"oneOf": [{"type": "string", "maxLength": 3}, {"type": "integer"}]},
        {"allOf": [{"minimum": 3}, {"type": "integer"}, {"maximum": 3}]},
        {"type": "object", "minProperties": 2, "additionalProperties": {"type": "integer"}},
        {"type": ["null", "string"], "minLength": 2},
        {"type": "string", "pattern": "^a", "minLength": 1, "not": {"const": "a"}},
    ],
)
def test_rarer_keywords_are_met_too(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(schema).validate(fill(schema, lambda name, at: None))


def test_the_same_prompt_has_the_same_answer() -> None:
    said = [Offline().invoke(searched("What is given after 30 days?")) for _ in range(2)]
    assert said[0].text == said[1].text
    calls = [Offline().bind_tools([SEARCH]).invoke("What is given after 30 days?").tool_calls for _ in range(2)]
    assert calls[0] == calls[1]


@given(st.lists(st.text(max_size=200), min_size=1, max_size=4))
def test_the_tokens_it_counts_are_the_tokens_it_reports(texts: list[str]) -> None:
    model, messages = Offline(), [HumanMessage(text) for text in texts]
    for tools in ([], [SEARCH]):
        said = model.bind_tools(tools).invoke(messages) if tools else model.invoke(messages)
        assert said.usage_metadata is not None
        assert model.count_tokens(messages, tools) == said.usage_metadata["input_tokens"]
        assert most_tokens(model, messages, tools) == said.usage_metadata["input_tokens"]


@pytest.mark.parametrize("tools", [[], [SEARCH]])
async def test_a_stream_adds_up_to_what_invoke_returns(tools: list[dict[str, Any]]) -> None:
    model = Offline().bind_tools(tools) if tools else Offline()
    messages: Any = (
        [HumanMessage("What is given after 30 days?")] if tools else searched("What is given after 30 days?")
    )
    whole = model.invoke(messages)
    streams = [list(model.stream(messages)), [chunk async for chunk in model.astream(messages)]]
    for chunks in streams:
        joined = chunks[0]
        for chunk in chunks[1:]:
            joined = joined + chunk
        assert len(chunks) > 2
        assert (joined.text, joined.tool_calls) == (whole.text, whole.tool_calls)
        assert joined.usage_metadata == whole.usage_metadata
        assert chunks[-1].usage_metadata == whole.usage_metadata
        assert joined.response_metadata["finish_reason"] == whole.response_metadata["finish_reason"]


@pytest.mark.parametrize("question", ["What is given after 30 days?", "How many days of holiday has an employee?"])
def test_every_sentence_it_answers_with_was_given_to_it(question: str) -> None:
    said = Offline().invoke(searched(question)).text
    quotes, sources = CITED.split(said)[::2], CITED.findall(said)
    texts = {p["reference"]: flat(p["text"]) for p in PASSAGES}
    assert sources
    assert quotes[-1] == ""
    for quote, source in zip(quotes, sources, strict=False):
        assert quote.strip() in texts[source]


def test_the_passage_that_answers_comes_first() -> None:
    assert CITED.findall(Offline().invoke(searched("What is given after 30 days?")).text)[0] == "handbook.md#refunds"
    assert CITED.findall(Offline().invoke(searched("Who gets a holiday request?")).text)[0] == "handbook.md#holidays"


def test_it_says_so_when_nothing_answers() -> None:
    said = Offline().invoke(searched("Who is the chancellor of Austria?")).text
    assert said.startswith("I found nothing")
    assert not CITED.findall(said)
    assert Offline().invoke("Who is the chancellor of Austria?").text.startswith("I found nothing")


def test_it_quotes_what_the_prompt_itself_holds_and_names_the_section() -> None:
    said = Offline().invoke("What is given?\n\n## handbook\nAfter 30 days only store credit is given.").text
    assert said == "After 30 days only store credit is given. [given#handbook]"


def test_an_admission_of_another_agent_is_nothing_to_quote() -> None:
    said = Offline().invoke("What is given?\n\n## outline\nI found nothing that answers this: there was no text.").text
    assert said.startswith("I found nothing")
    assert not CITED.findall(said)


def test_it_searches_before_it_answers_from_several_angles_at_once() -> None:
    said = Offline().bind_tools([SEARCH]).invoke("How can a customer get a refund?")
    queries = [call["args"]["query"] for call in said.tool_calls]
    assert len(queries) > 1
    assert queries[0] == "How can a customer get a refund?"
    assert said.response_metadata["finish_reason"] == "tool_calls"
    assert len({call["id"] for call in said.tool_calls}) == len(queries)


def test_it_stops_searching_once_it_was_told_that_this_is_the_last_step() -> None:
    said = Offline().bind_tools([SEARCH]).invoke("What is a refund?\n\n## Constraints\n- No more tools. Answer now.")
    assert not said.tool_calls
    assert said.text


def test_a_chosen_function_is_called_even_when_tools_could_be() -> None:
    class Verdict(BaseModel):
        verdict: str = Field(pattern="^(accept|reject)$")

    assert (
        Offline().bind_tools([SEARCH, Verdict], tool_choice="Verdict").invoke("Is it good?").tool_calls[0]["name"]
        == "Verdict"
    )
    assert Offline().bind_tools([Verdict], tool_choice="any").invoke("Is it good?").tool_calls[0]["name"] == "Verdict"
    assert not Offline().bind_tools([SEARCH], tool_choice="none").invoke("Is it good?").tool_calls


def test_structured_output_of_a_pydantic_model_is_that_model() -> None:
    plan = (
        Offline()
        .with_structured_output(Plan)
        .invoke(
            "What may be refunded? How many days of holiday are there?\n\n"
            '## workers\n{"shop": "Knows refunds and goods", "office": "Knows holidays and employees"}'
        )
    )
    assert isinstance(plan, Plan)
    assert [(step.worker, step.task) for step in plan.steps] == [
        ("shop", "What may be refunded?"),
        ("office", "How many days of holiday are there?"),
    ]


def test_a_claim_is_judged_by_its_own_passage() -> None:
    claims = [
        {"id": 0, "text": "After 30 days only store credit is given.", "passage": PASSAGES[0]["text"]},
        {"id": 1, "text": "Cash is handed out by the chancellor every Friday.", "passage": PASSAGES[0]["text"]},
    ]
    item = {"claim": {"type": "integer"}, "supported": {"type": "boolean"}}
    schema = {"properties": {"verdicts": {"type": "array", "items": {"type": "object", "properties": item}}}}
    tool = {
        "type": "function",
        "function": {"name": "Verdicts", "description": "", "parameters": {"type": "object", **schema}},
    }
    prompt = f"Judge.\n\n## question\nWhat is given?\n\n## claims\n{json.dumps(claims)}"
    [call] = Offline().bind_tools([tool], tool_choice="Verdicts").invoke(prompt).tool_calls
    assert call["args"]["verdicts"] == [{"claim": 0, "supported": True}, {"claim": 1, "supported": False}]


def test_an_answer_is_cut_at_the_tokens_it_may_use_and_says_so() -> None:
    messages = searched("What is given after 30 days?")
    whole, cut = Offline().invoke(messages), Offline().invoke(messages, max_tokens=5)
    assert cut.usage_metadata is not None
    assert cut.usage_metadata["output_tokens"] <= 5
    assert whole.text.startswith(cut.text)
    assert cut.response_metadata["finish_reason"] == "length"


def test_arithmetic_in_the_question_goes_to_a_calculator_and_comes_back_with_its_result() -> None:
    calculator = {
        "type": "function",
        "function": {
            "name": "calculate",
            "description": "Calculates one expression",
            "parameters": {
                "type": "object",
                "properties": {"expression": {"type": "string"}},
                "required": ["expression"],
            },
        },
    }
    model = Offline().bind_tools([calculator])
    asked = model.invoke("What is 1,200 * 3 + 7?")
    assert [call["args"] for call in asked.tool_calls] == [{"expression": "1200 * 3 + 7"}]
    result = ToolMessage('{"value": {"result": "3607", "exact": true}}', tool_call_id=asked.tool_calls[0]["id"])
    assert "3607" in model.invoke([HumanMessage("What is 1,200 * 3 + 7?"), asked, result]).text


LETTER = {
    "type": "function",
    "function": {
        "name": "send_letter",
        "description": "Sends a letter to a person",
        "parameters": {
            "type": "object",
            "properties": {"to": {"type": "string"}, "text": {"type": "string"}, "copies": {"type": "integer"}},
            "required": ["to", "text"],
        },
    },
}


@pytest.mark.parametrize(
    ("task", "to", "text"),
    [
        ('Send a letter to Ada Lovelace: "The engine runs."', "Ada Lovelace", "The engine runs."),
        ("Send a letter to ada@example.org saying the engine runs.", "ada@example.org", "the engine runs."),
        (
            "Please send the landlord's letter to the tenant.",
            "the tenant",
            "Please send the landlord's letter to the tenant.",
        ),
        ("Send a letter.", "Send a letter.", "Send a letter."),
    ],
)
def test_a_tool_that_acts_gets_its_required_texts_from_the_task(task: str, to: str, text: str) -> None:
    [call] = Offline().bind_tools([LETTER]).invoke(task).tool_calls
    assert call["args"] == {"to": to, "text": text}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "When the setting that loads all is set, that\nmodule is loaded before any other\none of them. Next.",
            ["When the setting that loads all is set, that module is loaded before any other one of them.", "Next."],
        ),
        ("uid = nobody\ngid = nobody\ntimeout = 600", ["uid = nobody", "gid = nobody", "timeout = 600"]),
        (
            "# How long the server waits\n# for a client. The default is 30.\n#timeout = 30\nport = 8",
            ["# How long the server waits # for a client.", "The default is 30. #timeout = 30", "port = 8"],
        ),
        ("Do:\n- Stop it.\n- Start\n  again.\n\n2.1. Later", ["Do:", "- Stop it.", "- Start again.", "2.1. Later"]),
    ],
)  # fmt: skip
def test_a_wrapped_line_goes_on_and_a_comment_stays_with_its_setting(text: str, parts: list[str]) -> None:
    assert sentences(text) == parts


LETTERS = st.text("abcdefghij \n.", min_size=1, max_size=400)


@given(st.lists(LETTERS, min_size=1, max_size=6))
def test_an_answer_has_no_more_than_its_room_and_only_words_it_was_given(texts: list[str]) -> None:
    found = [{"reference": f"f{n}.md#s", "heading": "", "text": f"abc def. {t}"} for n, t in enumerate(texts)]
    said = Offline().invoke(searched("abc def?", found)).text
    by = {p["reference"]: flat(p["text"]) for p in found}
    assert len(said) <= 400
    for quote, source in zip(CITED.split(said)[::2], CITED.findall(said), strict=False):
        assert quote.strip() in by[source]


def test_the_sentence_after_the_best_one_is_quoted_with_it() -> None:
    text = "The cache of the builder is cleared by hand. Call purge twice. " + "Nothing else matters here at all. " * 20
    [passage] = [{"reference": "a.md#cache", "heading": "Cache", "text": text}]
    said = Offline().invoke(searched("How is the cache of the builder cleared?", [passage])).text
    assert "cleared by hand. Call purge twice." in said


def test_it_is_labelled_wherever_a_model_is_named() -> None:
    said = Offline().invoke("Hello?")
    assert (Offline().model_name, Offline()._llm_type) == ("offline/extractive", "offline/extractive")
    assert said.response_metadata["model_name"] == "offline/extractive"
    about = Offline()._get_ls_params()
    assert (about.get("ls_provider"), about.get("ls_model_name")) == ("offline", "extractive")


@given(st.text(max_size=300))
def test_no_text_breaks_it(text: str) -> None:
    said = Offline().bind_tools([SEARCH]).invoke([HumanMessage(text)])
    assert said.text or said.tool_calls
    assert not re.search(r"Traceback", said.text)


def test_the_head_of_a_table_is_no_sentence() -> None:
    table = "Intro.\n\n| promise | where |\n|---|---|\n| budgets | here |\n"
    assert sentences(table) == ["Intro.", "| budgets | here |"]


def form(name: str, **fields: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": fields, "required": list(fields)}
    return {"type": "function", "function": {"name": name, "description": "", "parameters": parameters}}


def filled(prompt: str, **fields: Any) -> dict[str, Any]:
    [call] = Offline().bind_tools([form("Answer", **fields)], tool_choice="Answer").invoke(prompt).tool_calls
    return dict(call["args"])


@pytest.mark.parametrize(
    ("words", "expression"),
    [
        ("What is the sum of 17 and 25?", "17 + 25"),
        ("What is 1,200 minus 3.5?", "1200 - 3.5"),
        ("How much is 15 % of 80?", "15 / 100 * 80"),
        ("What do I get when I divide 9 by 4?", "9 / 4"),
        ("Subtract 5 from 12.", "12 - 5"),
        ("What is 2 ^ 10?", "2 ** 10"),
        ("Who met between 1914 and 1918?", None),
    ],
)
def test_a_calculation_is_seen_in_words_too(words: str, expression: str | None) -> None:
    assert sums(words) == ([expression] if expression else [])


def test_of_numbered_answers_it_names_the_one_that_says_most_of_the_question() -> None:
    answers = {"1": {"text": "I found nothing that answers this."}, "2": {"text": "Tea costs 4 euros. [a.md#tea]"}}
    prompt = f"Which is best?\n\n## task\nWhat does tea cost?\n\n## answers\n{json.dumps(answers)}"
    assert filled(prompt, number={"type": "integer", "minimum": 1}) == {"number": 2}


def test_answers_agree_when_they_say_the_same() -> None:
    for second, same in (("Tea costs 4 euros.", True), ("Tea costs 5 euros.", False)):
        answers = {"1": {"text": "Tea costs 4 euros."}, "2": {"text": second}}
        prompt = f"Compare.\n\n## task\nWhat does tea cost?\n\n## answers\n{json.dumps(answers)}"
        assert filled(prompt, agree={"type": "boolean"}) == {"agree": same}


def test_where_nothing_is_judged_a_choice_is_the_default_or_what_the_question_speaks_of() -> None:
    kinds = {"type": "string", "enum": ["reject", "accept", "refund"]}
    assert filled("Hello there.", kind={**kinds, "default": "accept"}) == {"kind": "accept"}
    assert filled("I want a refund.", kind=kinds) == {"kind": "refund"}


def test_it_is_as_sure_of_a_choice_as_the_descriptions_set_it_apart() -> None:
    fields = {"agent": {"type": "string"}, "confidence": {"type": "number", "minimum": 0, "maximum": 1}}
    team = '## workers\n{"shop": "Knows refunds and goods", "office": "Knows holidays"}'
    assert filled(f"May opened goods get refunds?\n\n{team}", **fields) == {"agent": "shop", "confidence": 0.67}
    assert filled(f"Hello there.\n\n{team}", **fields)["confidence"] == 0


def test_what_was_computed_keeps_its_source_when_it_is_passed_on() -> None:
    said = Offline().invoke("What is the total of tea?\n\n## figures\nsum: 200 (from sales.csv)").text
    assert said == "sum: 200 (from sales.csv)"


def test_it_hands_over_to_whoever_fits_the_question_better_and_else_keeps_it() -> None:
    transfer = form("transfer_to_tables", reason={"type": "string"})
    transfer["function"]["description"] = "Hand the conversation over to tables: Computes figures."
    model = Offline().bind_tools([SEARCH, transfer])
    orders = SystemMessage("Answers from the documents.")
    asked = [[c["name"] for c in model.invoke([orders, HumanMessage(q)]).tool_calls] for q in
             ("What is the total of tea?", "How do I make tea?")]  # fmt: skip
    assert asked[0] == ["transfer_to_tables"]
    assert set(asked[1]) == {"search"}
