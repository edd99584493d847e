"""The command line: runs of patterns on a task, and all about the threads they leave.

Answers go to standard output, progress and errors to standard error. Exit status: 0 completed or
degraded, 2 usage, 3 waiting for a person, 4 out of budget, 5 failed or rejected, 130 cancelled.
The engine is imported inside the commands that need it: help and lists stay instant.
"""

import asyncio
import functools
import os
import sqlite3
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec

import typer

from graphs.catalog import CATALOG
from motet import arguments, screen, view
from state.errors import InputError, MotetError, StorageError

P = ParamSpec("P")

HELP = """Runs teams of LLM agents, and keeps what they did.

    motet run research "What is our refund policy?" --docs ./handbook

Answers go to standard output, progress to standard error. Exit status: 0 completed or degraded,
2 usage, 3 waiting for a person, 4 out of budget, 5 failed or rejected, 130 cancelled."""

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, help=HELP
)

Json = Annotated[bool, typer.Option("--json", help="Plain JSON on standard output, for programs.")]
Db = Annotated[
    str, typer.Option("--db", help="sqlite:///PATH or memory://; default MOTET_DB, else a file in MOTET_HOME.")
]
Docs = Annotated[str, typer.Option("--docs", help="Folder of documents that the run may read.")]
Model = Annotated[str, typer.Option("--model", help="Model of all tiers: offline, or openai:NAME.")]
Tiers = Annotated[
    list[str] | None, typer.Option("--tier", help="Model of one tier: planner=NAME, worker=NAME or judge=NAME.")
]
Options = Annotated[str, typer.Option("--context", help="Further options of the run, as a JSON object or @FILE.")]
Tokens = Annotated[int | None, typer.Option("--budget-tokens", min=1, help="Tokens the run may use, in and out.")]
Usd = Annotated[float | None, typer.Option("--budget-usd", min=1e-6, help="Dollars the run may cost.")]
Seconds = Annotated[
    float | None, typer.Option("--max-seconds", min=1e-3, help="Seconds from its start in which calls may begin.")
]
Concurrency = Annotated[int | None, typer.Option("--max-concurrency", min=1, help="Model and tool calls at once.")]
Approve = Annotated[
    list[str] | None,
    typer.Option(
        "--approve",
        metavar="POLICY",
        callback=lambda typed: _readable(typed),
        help="Before what cannot be undone: ask (the default), auto or deny; for some, AGENT.TOOL=POLICY, "
        "TOOL=POLICY or AGENT=POLICY, as in 'pay=ask above amount 100 by ann within 3600 else reject'.",
    ),
]
Thread = Annotated[str, typer.Argument(help="A thread's name, as `motet threads` lists them.")]
Pattern = Annotated[str, typer.Argument(help="A pattern's name, or MODULE:ATTRIBUTE of a graph of your own.")]
Step = Annotated[str, typer.Option("--at", help="A step's id, as `motet history` lists them; default: the newest.")]
Inside = Annotated[str, typer.Option("--inside", help="Namespace of a nested graph, as `motet state` names it.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Lines, at most.")]


def _readable(typed: list[str] | None) -> list[str] | None:
    try:
        arguments.policies(typed or [])
    except InputError as error:
        raise typer.BadParameter(str(error)) from error
    return typed


def command(work: Callable[P, int | None]) -> Callable[P, None]:
    """Make a command of a function that returns its exit status; an error becomes one line."""

    @app.command()
    @functools.wraps(work)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            status = work(*args, **kwargs)
        except MotetError as error:
            status = screen.refused(error, as_json=bool(kwargs.get("as_json")))
        except sqlite3.Error as error:
            fault = StorageError(f"the database failed: {error}; mend it, or name another with --db")
            status = screen.refused(fault, as_json=bool(kwargs.get("as_json")))
        except KeyboardInterrupt:
            status = 130
        except Exception as error:  # a fault of ours or of a graph of the user's: one line all the same
            if os.environ.get("MOTET_TRACEBACK") or isinstance(error, BrokenPipeError):
                raise
            status = screen.broken(error, as_json=bool(kwargs.get("as_json")))
        raise typer.Exit(status or 0)

    return guarded


@command
def run(
    pattern: Pattern,
    task: Annotated[str, typer.Argument(help="What is asked; - reads standard input.")] = "",
    docs: Docs = "",
    model: Model = "",
    tier: Tiers = None,
    thread: Annotated[
        str, typer.Option("--thread", help="Go on with this thread and its options; default: a new one.")
    ] = "",
    approve: Approve = None,
    budget_tokens: Tokens = None,
    budget_usd: Usd = None,
    max_seconds: Seconds = None,
    max_concurrency: Concurrency = None,
    given: Annotated[str, typer.Option("--input", help="A whole Task as JSON or @FILE, instead of TASK.")] = "",
    context: Options = "",
    discard: Annotated[bool, typer.Option("--discard", help="Drop what is open on the thread.")] = False,
    db: Db = "",
    as_json: Json = False,
) -> int:
    """Run a pattern on a task."""
    asked = arguments.question(task, given)
    options = arguments.json_object(context, "--context") | arguments.models(model, tier or [])
    options |= arguments.policies(approve or [])
    named = {
        "docs": docs,
        "max_tokens": budget_tokens,
        "max_usd": budget_usd,
        "max_seconds": max_seconds,
        "max_concurrency": max_concurrency,
    }
    options |= {name: value for name, value in named.items() if value not in ("", None)}
    from motet.turns import turn

    return turn(db, as_json, lambda s, **k: s.run(pattern, asked, thread=thread, context=options, discard=discard, **k))


@command
def resume(
    thread: Thread,
    answer: Annotated[
        str,
        typer.Option(
            "--answer", help='JSON or @FILE: {"decisions": [{"type": "approve"}]}, or {ID: {"decisions": …}, …}.'
        ),
    ] = "",
    approve: Approve = None,
    model: Model = "",
    tier: Tiers = None,
    db: Db = "",
    as_json: Json = False,
) -> int:
    """Go on with a thread: after a crash, after Ctrl-C, or with an answer."""
    said = arguments.json_object(answer, "--answer") if answer else None
    options = arguments.models(model, tier or []) | arguments.policies(approve or [])
    from motet.turns import turn

    return turn(db, as_json, lambda s, **k: s.resume(thread, said, context=options, **k))


@command
def fork(
    thread: Thread,
    at: Annotated[str, typer.Option("--at", help="The step's id, as `motet history` lists them.")],
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="A channel to change: NAME=JSON or NAME=@FILE.")
    ] = None,
    inside: Inside = "",
    go: Annotated[bool, typer.Option("--run/--no-run", help="Run on from the fork.")] = True,
    db: Db = "",
    as_json: Json = False,
) -> int:
    """Branch a thread off at a step, with changes, and run on from there."""
    values = arguments.changes(changes or [])
    from motet.session import Session
    from motet.turns import turn

    with Session(db) as session:
        branch = asyncio.run(session.fork(thread, at, values, inside=inside))
        view.forked(thread, branch, as_json, going=go)
        return turn(session, as_json, lambda s, **k: s.resume(thread, **k)) if go else 0


@command
def diff(
    run: Annotated[str, typer.Argument(help="THREAD, THREAD@BRANCH or THREAD@STEP.")],
    other: Annotated[str, typer.Argument(help="What it is held against; default: what RUN was forked from.")] = "",
    db: Db = "",
    as_json: Json = False,
) -> int:
    """Hold two runs against each other, step by step; exit status 1 if they differ."""
    from motet import compared
    from motet.session import Session

    with Session(db) as session:
        found = asyncio.run(session.diff(run, other))
    compared.difference(found, as_json)
    return 0 if found.found["same"] else 1


@command
def replay(
    run: Annotated[str, typer.Argument(help="THREAD, THREAD@BRANCH or THREAD@STEP.")],
    db: Db = "",
    as_json: Json = False,
) -> int:
    """Run a saved turn again from its record, at no cost; exit status 1 if the code now goes another way."""
    from motet import compared
    from motet.session import Session

    with Session(db) as session:
        found = asyncio.run(session.replay(run))
    compared.replayed(found, as_json)
    return 0 if found.same else 1


@command
def patterns(as_json: Json = False) -> None:
    """List the patterns and applications: what each is for, what it costs."""
    view.catalogue(CATALOG, as_json)


@command
def show(
    pattern: Pattern,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Only the drawing, nested graphs and all.")] = False,
    as_json: Json = False,
) -> None:
    """Show a pattern: its drawing, its options, its cost in model calls."""
    from motet.drawing import described

    view.pattern(described(pattern), mermaid, as_json)


@command
def threads(db: Db = "", limit: Limit = 30, as_json: Json = False) -> None:
    """List the threads, the newest first, and how each stands."""
    from motet.session import Session

    with Session(db) as session:
        view.threads(asyncio.run(session.threads(limit)), as_json)


@command
def history(thread: Thread, inside: Inside = "", limit: Limit = 50, db: Db = "", as_json: Json = False) -> None:
    """List the steps of a thread, the newest first."""
    from motet.session import Session

    with Session(db) as session:
        view.history(asyncio.run(session.history(thread, inside, limit)), as_json)


@command
def verify(
    thread: Annotated[str, typer.Argument(help="A thread's name; default: the whole database.")] = "",
    db: Db = "",
    as_json: Json = False,
) -> int:
    """Find what was changed, moved or taken away since it was saved; exit status 1 if anything was."""
    from motet.session import Session

    with Session(db) as session:
        faults = asyncio.run(session.verify(thread))
    view.verified(faults, thread, as_json)
    return 1 if faults else 0


@command
def prune(
    thread: Thread,
    keep: Annotated[int, typer.Option("--keep", min=1, help="Turns, the newest, that keep all their steps.")] = 1,
    db: Db = "",
    as_json: Json = False,
) -> None:
    """Drop the steps of a thread's older turns; it goes on as before."""
    from motet.session import Session

    with Session(db) as session:
        view.pruned(asyncio.run(session.prune(thread, keep)), as_json)


@command
def state(thread: Thread, at: Step = "", inside: Inside = "", db: Db = "", as_json: Json = False) -> None:
    """Show a thread's state at a step, and the calls made by then."""
    from motet.session import Session

    async def both(session: Session) -> tuple[Any, list[Any]]:
        return await session.state(thread, at, inside), await session.calls(thread, at, inside)

    with Session(db) as session:
        view.state(*asyncio.run(both(session)), as_json)


@command
def diagram(thread: Thread, at: Step = "", inside: Inside = "", db: Db = "") -> None:
    """Print who said what to whom in a thread's turn, as a Mermaid sequence diagram."""
    from motet.drawing import diagram as drawn
    from motet.session import Session

    async def both(session: Session) -> tuple[str, list[Any]]:
        return (await session.look(thread)).pattern, await session.calls(thread, at, inside)

    with Session(db) as session:
        pattern, records = asyncio.run(both(session))
        screen.write(drawn(records, pattern))


@command
def serve(
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 2024,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
) -> None:
    """Serve every graph of langgraph.json on the development server."""
    from motet.serving import serve as become_server

    become_server(host, port)


@command
def doctor(db: Db = "", as_json: Json = False) -> int:
    """Say what is configured, which models answer, where data lies."""
    from motet.doctor import examine

    found = asyncio.run(examine(db))
    view.doctor(found, as_json)
    return 0 if all(f["ok"] for f in found) else 5


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
