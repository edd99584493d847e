"""Every pattern and application, as data: the tables, the command line and the server come from here."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """What one graph is for. `graph` is "module:attribute"; `cost` is a formula in model calls."""

    name: str
    graph: str
    sentence: str
    use: str
    avoid: str
    cost: str
    application: bool = False


CATALOG: tuple[Entry, ...] = (
    Entry(
        name="react",
        graph="graphs.react:graph",
        sentence="One agent thinks, calls tools, observes, and answers.",
        use="one agent with tools can do the whole job",
        avoid="the job has parts that need different instructions or tools",
        cost="1 + tool rounds; at most limits.steps",
    ),
    Entry(
        name="pipeline",
        graph="graphs.pipeline:graph",
        sentence="Ordered stages, each taking the output of the one before.",
        use="the steps are known beforehand and always the same",
        avoid="the steps depend on what is found on the way",
        cost="one call per stage",
    ),
    Entry(
        name="concurrent",
        graph="graphs.concurrent:graph",
        sentence="Several agents, or one over several tasks, at once; then one result.",
        use="independent views or items can be worked on at the same time",
        avoid="one result needs another",
        cost="one call per branch (agents, or tasks where several are given), and one more where an agent aggregates",
    ),
    Entry(
        name="orchestrator_worker",
        graph="graphs.orchestrator_worker:graph",
        sentence="A planner splits the goal, workers do the steps, a synthesizer answers.",
        use="the parts of a task can be named once it is known",
        avoid="one agent with tools would do: planning costs two calls more",
        cost="2 + steps; at most (1 + max_replans) x (1 + max_plan_repairs + steps) + 1",
    ),
    Entry(
        name="critic",
        graph="graphs.critic:graph",
        sentence="A draft is criticised and revised until every critic accepts it.",
        use="a fault is easier to see than to avoid",
        avoid="the critic knows no more than the author",
        cost="1 + critics; at most max_rounds x (1 + critics)",
    ),
    Entry(
        name="research",
        graph="graphs.research:graph",
        sentence="A team answers a question over a folder of documents, with checked citations.",
        use="the answer must be found in documents and tables, and its sources must hold",
        avoid="the documents are few enough to read in one prompt",
        cost="planner, three researchers with their searches, checker, writer",
        application=True,
    ),
)


def entry(name: str) -> Entry | None:
    """The entry of that name."""
    return next((e for e in CATALOG if e.name == name), None)
