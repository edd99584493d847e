"""Who bids on a market: an agent who does the work, and what bids for it."""

from collections.abc import Callable, Sequence

from graphs.bind import Bindable, bind
from nodes.agent import Bound
from nodes.bidder import Bidder
from state.agent import Agent
from state.auction import Bid
from state.errors import ContractError
from state.market import declared

__all__ = ["Bidder", "bidder"]


def bidder(
    agent: Bindable,
    *,
    bid: Bindable | None = None,
    capacity: int = 1,
    load: int | Callable[[], int] = 0,
    cost: float = 1.0,
    skills: Sequence[str] = (),
) -> Bidder:
    """Who does the work if it wins, and what bids for it: a function of the Task, or an agent whose output is Bid.

    Without a `bid`, the declared `cost` is bid, and as utility the share of the task's words that are
    among the `skills` (or, without any, in the agent's responsibility). `capacity` is how many tasks it
    takes at once, `load` how many it has elsewhere: a number, or a function asked in every round.
    Raises ContractError for what cannot bid, or impossible numbers.
    """
    work = bind(agent)
    name = work.agent.name
    if bid is None:
        bid = declared(cost, [*skills] or [work.agent.responsibility])
    if isinstance(bid, Agent | Bound) or not callable(bid):
        bids = bind(bid)
    else:
        bids = bind(Agent(name=f"{name[:60]}_bid", responsibility=f"Bids for {name}", output=Bid), bid)
    if bids.agent.output is not Bid:
        raise ContractError(f"market: what bids for {name!r} must return a Bid; set output=Bid of {bids.agent.name!r}")
    if capacity < 1 or (isinstance(load, int) and load < 0) or not cost >= 0:
        raise ContractError(f"market: {name!r} needs a `capacity` of at least 1, a `load` and a `cost` of 0 or more")
    return Bidder(work=work, bid=bids, capacity=capacity, load=load)
