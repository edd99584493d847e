"""What to do about calls that may have taken effect: asked of a person, at a node of its own."""

from collections.abc import Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime

from nodes import human
from runtime.run import place_of, run_of
from state.decision import POLICY, ActionRequest, Decision, Request, ReviewConfig
from state.effect import Doubt
from state.policy import Policy, policy_for


async def settle(
    doubts: Mapping[str, Doubt], *, agent: str, visit: str, config: RunnableConfig, runtime: Runtime[Any]
) -> dict[str, Doubt]:
    """The same doubts with a decision each: it happened (respond), run it again (approve), leave it (reject).

    Where the run's policies ask nobody about a tool ("auto", "deny"), its calls are left: leave to run them
    is not leave to run them twice.
    """
    options = (await run_of(place_of(config), runtime)).context
    policies = {
        at: policy_for(options.approvals, options.approve, agent=agent, tool=doubts[at]["name"]) for at in doubts
    }
    asked = [at for at, policy in policies.items() if policy.answer == "ask"]
    out = {at: _decided(doubt, Decision(type="reject"), POLICY) for at, doubt in doubts.items() if at not in asked}
    if asked:
        question = _question(agent, [(doubts[at], policies[at]) for at in asked])
        said = await human.ask(question, agent=agent, visit=visit, config=config, runtime=runtime)
        pairs = zip(asked, said.decisions, strict=True)
        out |= {at: _decided(doubts[at], decision, said.by) for at, decision in pairs}
    return out


def _decided(doubt: Doubt, decision: Decision, by: str) -> Doubt:
    return {**doubt, "decision": decision.model_dump(mode="json"), "by": by}


def _question(agent: str, about: list[tuple[Doubt, Policy]]) -> Request:
    return Request(
        kind="escalation",
        action_requests=[
            ActionRequest(
                name=doubt["name"],
                args=doubt["args"] if isinstance(doubt["args"], dict) else {"args": doubt["args"]},
                description=(
                    f"{agent} began {doubt['name']} at {doubt['began']}, and {doubt['why']}: it may have happened, or "
                    "not. See what became of it; then respond with its result if it happened, approve to run it again "
                    "under the same key, or reject to leave it"
                ),
            )
            for doubt, _ in about
        ],
        review_configs=[
            ReviewConfig(
                action_name=doubt["name"],
                allowed_decisions=["respond", "approve", "reject"],
                approvers=list(policy.by),
            )
            for doubt, policy in about
        ],
        case={"doubts": [dict(doubt) for doubt, _ in about]},
    )
