"""The command line: `motet run research "…" --docs ./handbook`, and everything about the threads it leaves.

Answers go to standard output, progress and errors to standard error. Exit status: 0 completed or
degraded, 2 usage, 3 waiting for a person, 4 out of budget, 5 failed or rejected, 130 cancelled.
The engine is imported inside the commands that need it: help and lists stay instant.
"""

import asyncio
import json
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from graphs.catalog import CATALOG
from motet import view
from state.errors import MotetError, StorageError

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=__doc__.split("\n\n")[0])

Json = Annotated[bool, typer.Option("--json", help="Plain JSON on standard output, for programs.")]
Db = Annotated[
    str, typer.Option("--db", help="sqlite:///PATH or memory://; default MOTET_DB, else a file in MOTET_HOME.")
]
Docs = Annotated[str, typer.Option("--docs", help="Folder of documents that the run may read.")]
Model = Annotated[str, typer.Option("--model", help="Model of all tiers: offline, or openai:NAME.")]
Tiers = Annotated[list[str] | None, typer.Option("--tier", help="Model of one tier: planner=…, worker=…, judge=…")]
Options = Annotated[str, typer.Option("--context", help="Further run options, as a JSON object.")]
Tokens = Annotated[int | None, typer.Option("--budget-tokens", help="Tokens the run may use.")]
Usd = Annotated[float | None, typer.Option("--budget-usd", help="Dollars the run may cost.")]
Seconds = Annotated[float | None, typer.Option("--max-seconds", help="Seconds in which calls may begin.")]
Concurrency = Annotated[int | None, typer.Option("--max-concurrency", help="Calls at once.")]
Approve = Annotated[str, typer.Option("--approve", help="Before irreversible tools: auto, ask or deny.")]
Thread = Annotated[str, typer.Argument(help="A thread's name, as `motet threads` lists them.")]
Step = Annotated[str, typer.Option("--at", help="A step's id, as `motet history` lists them.")]
Inside = Annotated[str, typer.Option("--inside", help="Namespace of a nested graph, as `motet state` names it.")]


@app.command()
def run(
    pattern: Annotated[str, typer.Argument(help="A pattern's name, or MODULE:ATTRIBUTE of a graph of your own.")],
    task: Annotated[str, typer.Argument(help="What is asked; - reads standard input.")] = "",
    given: Annotated[str, typer.Option("--input", help="A whole Task as JSON, instead of the argument.")] = "",
    docs: Docs = "",
    model: Model = "",
    tier: Tiers = None,
    thread: Annotated[str, typer.Option("--thread", help="Go on with this thread; default: a new one.")] = "",
    db: Db = "",
    budget_tokens: Tokens = None,
    budget_usd: Usd = None,
    max_seconds: Seconds = None,
    max_concurrency: Concurrency = None,
    approve: Approve = "",
    context: Options = "",
    discard: Annotated[bool, typer.Option("--discard", help="Drop what is open on the thread.")] = False,
    as_json: Json = False,
) -> None:
    """Run a pattern on a task."""
    named = {
        "docs": _folder(docs),
        "max_tokens": budget_tokens,
        "max_usd": budget_usd,
        "max_seconds": max_seconds,
        "max_concurrency": max_concurrency,
        "approve": approve,
    }
    options = (
        _json(context, "--context")
        | _models(model, tier or [])
        | {k: v for k, v in named.items() if v not in ("", None)}
    )
    asked: Any = _json(given, "--input") if given else sys.stdin.read() if task == "-" else task

    async def work() -> int:
        from motet.turns import turn

        return await turn(
            db, as_json, lambda s, **k: s.run(pattern, asked, thread=thread, context=options, discard=discard, **k)
        )

    _exit(work())


@app.command()
def resume(
    thread: Thread,
    answer: Annotated[
        str, typer.Option("--answer", help='JSON: {"decisions": [{"type": "approve"}]}, or that by question id.')
    ] = "",
    approve: Approve = "",
    db: Db = "",
    as_json: Json = False,
) -> None:
    """Go on with a thread: after a crash, after Ctrl-C, or with answers to its questions."""
    said = _json(answer, "--answer") if answer else None
    options = {"approve": approve} if approve else {}

    async def work() -> int:
        from motet.turns import turn

        return await turn(db, as_json, lambda s, **k: s.resume(thread, said, context=options, **k))

    _exit(work())


@app.command()
def fork(
    thread: Thread,
    at: Annotated[str, typer.Option("--at", help="The step's id, as `motet history` lists them.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="A channel to change: NAME=JSON.")] = None,
    inside: Inside = "",
    go: Annotated[bool, typer.Option("--run/--no-run", help="Run on from the fork.")] = True,
    db: Db = "",
    as_json: Json = False,
) -> None:
    """Begin a new branch of a thread at a step, with changes, and run on from there."""
    values = dict(_assignment(text) for text in set_ or [])

    async def work() -> int:
        from motet.turns import turn

        async def forked(session: Any, **how: Any) -> Any:
            branch = await session.fork(thread, at, values, namespace=inside)
            view.say(f"branch {branch} of {thread}")
            return await session.resume(thread, **how) if go else None

        return await turn(db, as_json, forked)

    _exit(work())


@app.command()
def patterns(as_json: Json = False) -> None:
    """List the patterns and applications: what each is for and what it costs."""
    view.catalogue(CATALOG, as_json)


@app.command()
def show(pattern: Annotated[str, typer.Argument(help="A pattern's name.")], as_json: Json = False) -> None:
    """Show one pattern: its drawing, its options and defaults, its cost in model calls."""

    async def work() -> int:
        from motet.drawing import described

        view.pattern(described(pattern), as_json)
        return 0

    _exit(work())


@app.command()
def threads(db: Db = "", limit: int = 30, as_json: Json = False) -> None:
    """List the threads, the newest first."""

    async def work() -> int:
        from motet.session import Session

        with Session(db) as session:
            view.threads(await session.threads(limit), as_json)
        return 0

    _exit(work())


@app.command()
def history(thread: Thread, inside: Inside = "", limit: int = 50, db: Db = "", as_json: Json = False) -> None:
    """List the steps of a thread, the newest first."""

    async def work() -> int:
        from motet.session import Session

        with Session(db) as session:
            view.history([s async for s in session.history(thread, inside, limit)], as_json)
        return 0

    _exit(work())


@app.command()
def state(thread: Thread, at: Step = "", inside: Inside = "", db: Db = "", as_json: Json = False) -> None:
    """Show the state of a thread at a step, and what was called by then."""

    async def work() -> int:
        from motet.session import Session

        with Session(db) as session:
            snapshot = await session.state(thread, at, inside)
            view.state(snapshot, await session.book(thread, snapshot), as_json)
        return 0

    _exit(work())


@app.command()
def serve(port: int = 2024, host: str = "127.0.0.1") -> None:
    """Serve every graph of langgraph.json on the development server, with ten workers."""
    from motet.serving import serve as serve_

    sys.exit(serve_(host, port))


@app.command()
def doctor(db: Db = "", as_json: Json = False) -> None:
    """Say what is configured, which models answer, and where data lies."""

    async def work() -> int:
        from motet.doctor import examine

        found = await examine(db)
        view.doctor(found, as_json)
        return 0 if all(f["ok"] for f in found) else 5

    _exit(work())


def main() -> None:
    """The console script."""
    app()


def _exit(work: Coroutine[Any, Any, int]) -> None:
    """Run a command to its exit status; an error of ours becomes one line."""
    try:
        sys.exit(asyncio.run(work))
    except (StorageError, MotetError) as error:
        view.say(f"error: {error}", style="bold red")
        sys.exit(5 if isinstance(error, StorageError) and "failed" in str(error) else 2)
    except KeyboardInterrupt:
        sys.exit(130)


def _folder(docs: str) -> str:
    return str(Path(docs).expanduser().resolve()) if docs else ""


def _json(text: str, option: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        value = json.loads(Path(text[1:]).read_text("utf-8") if text.startswith("@") else text)
    except (ValueError, OSError) as error:
        raise _usage(f"{option} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise _usage(f"{option} must be a JSON object, not {type(value).__name__}")
    return value


def _models(model: str, tiers: list[str]) -> dict[str, str]:
    out = dict.fromkeys(("planner", "worker", "judge"), model) if model else {}
    for text in tiers:
        tier, is_, name = text.partition("=")
        if not is_ or tier not in ("planner", "worker", "judge") or not name:
            raise _usage(f"--tier {text!r} does not fit; write planner=NAME, worker=NAME or judge=NAME")
        out[tier] = name
    return out


def _assignment(text: str) -> tuple[str, Any]:
    name, is_, value = text.partition("=")
    if not is_:
        raise _usage(f"--set {text!r} does not fit; write NAME=JSON")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _usage(message: str) -> typer.Exit:
    view.say(f"error: {message}", style="bold red")
    return typer.Exit(2)


if __name__ == "__main__":
    main()
