"""Every pattern and application, as data: the tables, the command line and the server come from here."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """What one graph is for.

    `graph` is "module:attribute". `cost` is a formula in model calls, exact given what happened, of agents
    who answer with one call each. `latency` is what the run waits for, one after the other; `talk` says who
    hears whom.
    """

    name: str
    graph: str
    sentence: str
    use: str
    avoid: str
    cost: str
    latency: str
    talk: str
    application: bool = False


CATALOG: tuple[Entry, ...] = (
    Entry(
        name="react",
        graph="graphs.react:graph",
        sentence="One agent thinks, calls tools, observes, and answers.",
        use="one agent with tools can do the whole job",
        avoid="the job has parts that need different instructions or tools",
        cost="1 + tool_rounds",
        latency="every call",
        talk="the agent and its tools",
    ),
    Entry(
        name="pipeline",
        graph="graphs.pipeline:graph",
        sentence="Ordered stages, each taking the output of the one before.",
        use="the steps are known beforehand and always the same",
        avoid="the steps depend on what is found on the way",
        cost="stages",
        latency="every stage",
        talk="each stage hears the one before",
    ),
    Entry(
        name="concurrent",
        graph="graphs.concurrent:graph",
        sentence="Several agents, or one over several tasks, at once; then one result.",
        use="independent views or items can be worked on at the same time",
        avoid="one result needs another",
        cost="branches + aggregations",
        latency="the slowest branch that counts, and who aggregates",
        talk="nobody hears another; one hears all",
    ),
    Entry(
        name="orchestrator_worker",
        graph="graphs.orchestrator_worker:graph",
        sentence="A planner splits the goal, workers do the steps, a synthesizer answers.",
        use="the parts of a task can be named once it is known",
        avoid="one agent with tools would do: planning costs two calls more",
        cost="plans + steps + 1",
        latency="the plan's longest chain of steps, and two calls",
        talk="workers hear the results that they need",
    ),
    Entry(
        name="router",
        graph="graphs.router:graph",
        sentence="One classification, then the specialist it names, or several at once.",
        use="requests are of a few kinds, each with its expert",
        avoid="it shows only during the work whose request it is, or experts need each other",
        cost="classifications + specialists + syntheses",
        latency="the classification, and the slowest specialist named",
        talk="the specialist hears the user; nobody hears another",
    ),
    Entry(
        name="handoff",
        graph="graphs.handoff:graph",
        sentence="Agents pass the conversation to whoever should have it, and whoever has it answers.",
        use="the right expert shows only as the conversation goes on",
        avoid="one look at the request says who should have it: a router is cheaper",
        cost="turns + summaries",
        latency="every turn of an agent, one after the other",
        talk="whoever has control hears the conversation",
    ),
    Entry(
        name="group_chat",
        graph="graphs.group_chat:graph",
        sentence="Several agents in one conversation; a rule or a manager says who speaks next.",
        use="the answer comes out of a discussion",
        avoid="the parts can be done apart, or one agent's answer would do",
        cost="turns + selections + summaries + answers",
        latency="every turn, and every selection by a manager",
        talk="everybody hears everybody",
    ),
    Entry(
        name="magentic",
        graph="graphs.magentic:graph",
        sentence="A manager keeps ledgers of facts, plan and progress, and sends workers until the task is done.",
        use="the way to the answer is not known beforehand, and plans will fail",
        avoid="the steps are known: every turn of a worker costs a ledger more",
        cost="plans + ledgers + turns + 1",
        latency="two calls a round, and each plan",
        talk="workers hear the manager and what was said of late; the manager hears all",
    ),
    Entry(
        name="hierarchy",
        graph="graphs.hierarchy:graph",
        sentence="Managers over teams over workers: tasks go down, evidence comes up.",
        use="the job is too large for one team, or its teams have patterns of their own",
        avoid="one team would do: each level costs two calls more",
        cost="delegations + tasks + reports",
        latency="two calls a level, and the slowest worker",
        talk="a manager hears its own team only",
    ),
    Entry(
        name="critic",
        graph="graphs.critic:graph",
        sentence="A draft is criticised and revised until every critic accepts it.",
        use="a fault is easier to see than to avoid",
        avoid="the critic knows no more than the author",
        cost="rounds x (1 + critics)",
        latency="two calls a round",
        talk="critics hear the author, the author hears the critics",
    ),
    Entry(
        name="debate",
        graph="graphs.debate:graph",
        sentence="Debaters answer, criticise each other and revise; a judge who sees no names decides.",
        use="a hard question has one right answer, and errors can be argued away",
        avoid="one answer is as good as another, or four to six times the tokens are too many",
        cost="debaters x (1 + 2 x rounds) + verdicts",
        latency="1 + 2 x rounds calls, and the judge",
        talk="debaters hear each other, the judge hears all",
    ),
    Entry(
        name="consensus",
        graph="graphs.consensus:graph",
        sentence="Voters answer independently; a voting rule decides.",
        use="independent judgements are better than one, and the rule must be fair",
        avoid="the voters would copy the same error",
        cost="voters x rounds",
        latency="one call a round",
        talk="nobody hears another; from round two on, anonymous tallies",
    ),
    Entry(
        name="negotiation",
        graph="graphs.negotiation:graph",
        sentence="Parties with private interests make alternating offers until all accept one.",
        use="the parties have different interests, and a deal must suit all",
        avoid="the parties want the same",
        cost="moves + proposals + writings",
        latency="every move, one after the other",
        talk="parties hear offers, never each other's interests",
    ),
    Entry(
        name="arbitration",
        graph="graphs.arbitration:graph",
        sentence="Contradictory results about one subject are resolved, and every side is kept.",
        use="sources contradict each other, and one must be believed",
        avoid="the results only add to each other",
        cost="sides + verdicts",
        latency="the slowest side, and the arbiter",
        talk="no side hears another; the arbiter hears those that no rule overruled",
    ),
    Entry(
        name="market",
        graph="graphs.market:graph",
        sentence="Tasks are announced, bidders propose, the best bid wins, and its bidder does the work.",
        use="it is not known beforehand who does a task best or cheapest",
        avoid="the expert is known, or whoever is free will do",
        cost="bids + executions + escalations",
        latency="a bid and the work, in every round",
        talk="bidders hear the calls and their own awards only",
    ),
    Entry(
        name="mesh",
        graph="graphs.mesh:graph",
        sentence="Peers send each other messages, without a coordinator, until one answers or nothing is in flight.",
        use="no one may be in the middle, or everybody knows only their neighbours",
        avoid="one place can see everything: a planner needs fewer messages",
        cost="readings",
        latency="the longest chain of messages",
        talk="peers hear those who know them",
    ),
    Entry(
        name="events",
        graph="graphs.events:graph",
        sentence="Agents subscribe to kinds of events, react to what is published, and publish what follows.",
        use="who must react is not known to who causes it",
        avoid="the order of work is known: a pipeline says it plainly",
        cost="deliveries + syntheses",
        latency="the longest chain of events, each link as slow as the slowest who reacts",
        talk="subscribers hear what they subscribed to",
    ),
    Entry(
        name="blackboard",
        graph="graphs.blackboard:graph",
        sentence="Knowledge sources work on one shared board, whenever it holds what triggers them.",
        use="the order of contributions depends on what is already known",
        avoid="the order is known",
        cost="activations + picks + resolutions + syntheses",
        latency="every round of activations",
        talk="everybody reads and writes the board",
    ),
    Entry(
        name="research",
        graph="graphs.research:graph",
        sentence="A team answers a question over a folder of documents, with checked citations.",
        use="the answer must be found in documents and tables, and its sources must hold",
        avoid="the documents are few enough to read in one prompt",
        cost="planner, three researchers with their searches, checker, writer",
        latency="the slowest researcher, and four calls",
        talk="the writer hears what was checked",
        application=True,
    ),
)


def entry(name: str) -> Entry | None:
    """The entry of that name."""
    return next((e for e in CATALOG if e.name == name), None)
