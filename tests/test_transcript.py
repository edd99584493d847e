"""The transcript channel: the same as its reducer, whatever comes, and never much more than its messages."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore
from langgraph.types import Overwrite
from makers import MAKERS, scripted

from nodes.turn import ARCHIVE
from runtime.travel import at
from state.reducers import merge_keys, merge_messages
from state.transcript import LEAST, TranscriptChannel
from state.turn import KEPT

ids = st.sampled_from(["a", "b", "c", "d", None])
message = st.one_of(
    st.builds(lambda i, t: HumanMessage(t, id=i), ids, st.text(max_size=3)),
    st.builds(lambda i, t: AIMessage(t, id=i), ids, st.text(max_size=3)),
    st.builds(lambda i: RemoveMessage(id=i), st.sampled_from(["a", "b"])),
)
writes = st.lists(st.lists(message, max_size=4), min_size=1, max_size=4)


def channel() -> Any:
    return TranscriptChannel(merge_messages).from_checkpoint([])


@given(st.lists(writes, max_size=4))
def test_it_holds_what_the_reducer_makes_however_writes_are_batched(steps: list[Any]) -> None:
    one, expected = channel(), []
    for step in steps:
        one.update(step)
        expected = merge_messages(expected, step)
    at_once = channel()
    at_once.replay_writes([("task", "messages", w) for step in steps for w in step])
    assert one.get() == expected == at_once.get()


def test_an_overwrite_replaces_everything() -> None:
    one = channel()
    one.update([[AIMessage("x", id="a")]])
    one.update([Overwrite([AIMessage("y", id="b")])])
    assert [m.id for m in one.get()] == ["b"]


def test_a_copy_is_saved_as_often_as_the_transcript_doubles() -> None:
    one = channel()
    assert one.snapshot_frequency == LEAST
    one.update([[AIMessage("x", id=str(n)) for n in range(100)]])
    assert one.snapshot_frequency == 100
    assert one.copy().snapshot_frequency == 100
    assert TranscriptChannel(merge_messages) == TranscriptChannel(merge_messages)


def test_an_update_does_not_change_the_list_that_was_read_before() -> None:
    one = channel()
    one.update([[AIMessage("x", id="a")]])
    before = one.get()
    one.update([[AIMessage("y", id="b")]])
    assert len(before) == 1


@given(st.dictionaries(st.text(), st.integers()), st.dictionaries(st.text(), st.integers()))
def test_keys_of_the_later_write_win_and_nothing_else_is_lost(have: dict[str, int], new: dict[str, int]) -> None:
    merged = merge_keys(have, new)
    assert set(merged) == set(have) | set(new)
    assert all(merged[k] == new.get(k, have.get(k)) for k in merged)
    assert merge_keys(None, new) == new


@pytest.mark.parametrize("stored", [True, False])
async def test_a_long_thread_keeps_its_newest_messages_and_loses_none(stored: bool) -> None:
    store = InMemoryStore() if stored else None
    graph = MAKERS["react"](scripted("worker", "the answer")).copy({"checkpointer": InMemorySaver(), "store": store})
    said = [HumanMessage(f"number {n}", id=f"m{n}") for n in range(2 * KEPT + 1)]
    found = await graph.ainvoke({"messages": said}, at("t"))
    assert found["outcome"] == "completed"
    assert found["messages"][-2].text == f"number {2 * KEPT}"
    archived = store.search((ARCHIVE,)) if store is not None else []
    kept = {m.id for m in found["messages"]} | {m["id"] for item in archived for m in item.value["messages"]}
    assert {m.id for m in said} <= kept
    assert len(found["messages"]) == (KEPT + 1 if stored else 2 * KEPT + 2)
