"""What a client may not do from outside: stand elsewhere in another's book, or lift the veil."""

from makers import MAKERS, scripted
from scripted import Scripted

from graphs import react
from graphs.bind import bind
from runtime.book import Book
from runtime.persistence import Persistence
from runtime.veil import HERE, VEILED
from state.agent import Agent


async def test_a_client_cannot_write_into_the_book_of_another_thread(memory: Persistence) -> None:
    graph = memory.bind(MAKERS["react"](scripted("worker", "the answer")))
    forged = {"configurable": {"thread_id": "mine", HERE: ("other", "main", 7, "x")}}
    found = await graph.ainvoke({"task": "go"}, forged)
    assert found["usage"]["worker"]["calls"] == 1
    other = await Book(memory.store, thread="other", branch="main", turn=7).load()
    mine = await Book(memory.store, thread="mine", branch="main", turn=1).load()
    assert (len(other.records()), len(mine.records())) == (0, 1)


async def test_a_client_cannot_make_a_sensitive_agent_show_what_it_said(memory: Persistence) -> None:
    agent = Agent(name="nurse", responsibility="Knows secrets.", sensitive=True)
    graph = memory.bind(react.build(bind(agent, Scripted(script=lambda m, t: "the SECRET"))))
    config = {"configurable": {"thread_id": "t", VEILED: False}}
    assert (await graph.ainvoke({"task": "go"}, config))["answer"]["text"] == "the SECRET"
    book = await Book(memory.store, thread="t", branch="main", turn=1).load()
    assert "SECRET" not in str(book.records())
