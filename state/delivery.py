"""What becomes of what peers say: the delivery of a mesh, one round at a time, as a pure decision.

`deliver(state, net, now)` takes what the peers of a round said, puts their messages into mailboxes,
finds loops and deadlocks, and hands mail to who can go on. It gives the update of the state and the
envelopes that were delivered. A long file, because a round is one decision over one set of copies.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from langgraph.types import Overwrite

from state import deadlock
from state.agent import Outcome, Text
from state.envelope import Envelope, MessageKind, message_id, sign, take
from state.letters import EMPTY, absorbed, fault, payload, result, shown
from state.mailbox import deliver as put
from state.mailbox import empty
from state.mailbox import take as emptied
from state.mesh import ASKS, HOUSE, USER, Incident, Net, Said, State, View, between, lap
from state.record import digest
from state.task import Task
from state.turn import ended, reasons, steps_left, task_of, weaker

STEPS_PER_ROUND = 4  # super-steps of a round in which a person is asked
SPARE = 6  # super-steps that one more round, the delivery after it, and the end need
CLOSE = "Nothing is under way any more. Answer now, with what you have."


def deliver(state: State, net: Net, now: float) -> tuple[dict[str, Any], list[Envelope]]:
    """One round: the update of the state, and the envelopes that were delivered in it."""
    desk = _Desk(state, net, now)
    if not state.get("round"):
        desk.open(task_of(state))
    said = state.get("said") or {}
    for name in sorted(said):
        desk.begin_to_wait(name, said[name])
    for name in sorted(said):
        desk.hear(name, said[name])
    desk.decide(state.get("open") or [], state.get("decisions") or [])
    desk.unlock()
    if not desk.end:
        desk.look_at_goal()
    if not desk.end and steps_left(state) < SPARE:
        desk.finish("degraded", "no steps are left")
    if not desk.end and not desk.pending:
        desk.hand_over()
    return desk.update(), desk.posted


class _Desk:
    """One round at work: copies of what it changes, and what came of it."""

    def __init__(self, state: State, net: Net, now: float) -> None:
        self.net, self.now, self.task = net, now, task_of(state)
        self.turn = state.get("turn") or 0
        self.round = (state.get("round") or 0) + 1
        self.boxes = dict(state.get("boxes") or {})
        self.before = dict(state.get("handed") or {})
        self.jobs = dict(state.get("jobs") or {})
        self.words = dict(state.get("words") or {})
        self.trails = dict(state.get("trails") or {})
        self.counts = dict(state.get("counts") or {})
        self.sent = state.get("sent") or 0
        self.waits: dict[str, Any] = dict(state.get("waits") or {})
        self.barred = dict(state.get("barred") or {})
        self.flaws = [*(state.get("flaws") or [])]
        self.incidents = [*(state.get("incidents") or [])]
        self.closed = bool(state.get("closed"))
        self.handed: dict[str, list[dict[str, Any]]] = {}
        self.pending: list[Incident] = []
        self.posted: list[Envelope] = []
        self.end: dict[str, Any] = {}

    def open(self, task: Task) -> None:
        """The user's task enters at the entry peer."""
        asked = {"subject": task.goal, "text": "", "data": {}}
        self._send(USER, self.net.entry, "task", payload("task", asked, task, success=True), cause=None)

    def hear(self, name: str, said: Mapping[str, Any]) -> None:
        """What one peer said, with what it had read in mind; its answer goes to whoever asked it."""
        cause = self._cause(name)
        self.jobs[name] = {**self._job(name), "news": [], "last": {"id": cause["id"], "hops": cause["hops"]}}
        if said["outcome"] != "completed":
            self._flaw(said["reason"] or f"{name}: {said['outcome']}")
        if said["outcome"] == "out_of_budget":
            self.finish("out_of_budget", said["reason"], said["output"], name)
        elif said["output"] is None:
            self._failed(name, said, cause)
        elif not said["talks"]:
            self._answered(name, said["output"], cause)
        else:
            self._talk(name, Said.model_validate(said["output"]), cause)

    def begin_to_wait(self, name: str, said: Mapping[str, Any]) -> None:
        """Waits begin before anything is delivered: what is said in this very round was not heard yet."""
        if not said["talks"] or said["output"] is None or (spoken := Said.model_validate(said["output"])).final:
            return
        known = self._known(name)
        on = [other for other in spoken.waits_for if other in known]
        for other in spoken.waits_for:
            if other not in known:
                why = f"{name} cannot wait for {'itself' if other == name else repr(other)}"
                self._tell(name, "unknown", why, self._cause(name), sorted(known))
        if on:
            self.waits, _ = deadlock.wait(self.waits, name, on, any_of=spoken.wait_for_any)

    def _talk(self, name: str, said: Said, cause: Mapping[str, Any]) -> None:
        known = self._known(name)
        if said.answer:
            word = Text(text=said.answer, citations=said.citations).model_dump(mode="json")
            self.words[name] = {"output": word, "round": self.round}
            if said.final:
                self._answered(name, word, cause)
        for message in [] if self.end else said.messages:
            if message.to == name or message.to not in known:
                self._tell(name, "unknown", f"{name} does not know {message.to!r}", cause, sorted(known))
            elif message.to in self.barred.get(name, []):
                self._note("barred", name, f"{name} writes to {message.to} no more: their loop was broken")
            else:
                what = payload(message.kind, message.model_dump(include={"subject", "text", "data"}), self.task)
                self._send(name, message.to, message.kind, what, cause)

    def _cause(self, name: str) -> Mapping[str, Any]:
        """The message that made a peer speak: of all that it had read, the one with the longest way."""
        return max(self.before[name], key=lambda letter: letter["hops"])

    def _job(self, name: str) -> dict[str, Any]:
        return self.jobs.get(name) or EMPTY

    def _known(self, name: str) -> set[str]:
        """Whom a peer may write to: those it knows, and those who wrote to it."""
        wrote = {letter["sender"] for letter in self.before[name]} | {one["from"] for one in self._job(name)["open"]}
        return {*self.net.knows[name], *wrote} - {USER, HOUSE, name}

    def _answered(self, name: str, output: dict[str, Any], cause: Mapping[str, Any]) -> None:
        """An answer closes the job: it goes to all who asked, and to the user it ends the turn."""
        self.words[name] = {"output": output, "round": self.round}
        asked = self.jobs[name]["open"]
        self.jobs[name] = {**self.jobs[name], "open": [], "answers": {}}
        if any(one["from"] == USER for one in asked):
            self.finish("completed", "", output, name)
        for other in dict.fromkeys(one["from"] for one in asked if one["from"] != USER):
            about = next(one["what"] for one in asked if one["from"] == other)
            self._send(name, other, "result", result(output, about), cause)

    def _failed(self, name: str, said: Mapping[str, Any], cause: Mapping[str, Any]) -> None:
        asked = self.jobs[name]["open"]
        self.jobs[name] = {**self.jobs[name], "open": [], "answers": {}}
        if any(one["from"] == USER for one in asked):
            best = self._best()
            outcome: Outcome = said["outcome"] if best is None else weaker(said["outcome"])
            self.finish(outcome, said["reason"], best, name)
        why = fault(said["reason"], name, "go on without it, or ask another peer")
        for other in dict.fromkeys(one["from"] for one in asked if one["from"] != USER):
            self._send(name, other, "error", why, cause)

    def _send(
        self, sender: str, to: str, kind: MessageKind, said: Mapping[str, Any], cause: Mapping[str, Any] | None
    ) -> None:
        """Into the recipient's mailbox, unless a bound or a loop is in the way."""
        hops = cause["hops"] + 1 if cause else 0
        if hops > self.net.max_hops:
            return self._note("hops", sender, f"{sender} -> {to}: more than {self.net.max_hops} hops")
        if self.sent >= self.net.max_messages:
            return self._note("messages", sender, f"{sender} -> {to}: more than {self.net.max_messages} messages")
        trail = [*(self.trails.get(cause["id"], []) if cause else []), [sender, to, digest([kind, said])]]
        if sender != HOUSE and (cycle := lap(trail, self.net.max_laps)):
            return self._circle("loop", cycle)
        self.sent += 1
        self._put(sender, to, kind, said, cause, hops, trail)

    def _put(
        self,
        sender: str,
        to: str,
        kind: MessageKind,
        said: Mapping[str, Any],
        cause: Mapping[str, Any] | None,
        hops: int,
        trail: list[list[str]],
    ) -> None:
        way, conversation = f"{sender}>{to}", between(self.turn, sender, to)
        number = self.counts[way] = self.counts.get(way, 0) + 1
        envelope = Envelope(
            id=message_id(conversation, sender, number),
            conversation=conversation,
            sender=sender,
            recipient=to,
            kind=kind,
            payload=dict(said),
            sequence=number,
            causation=cause["id"] if cause else "",
            sent_at=self.now,
            deadline=None if kind == "error" else self.task.deadline,
            hops=hops,
        )
        if self.net.keys is not None:
            envelope = sign(envelope, self.net.keys[sender])
        self.boxes[to], _ = put(self.boxes.get(to) or empty(), [envelope.plain])
        self.trails[envelope.id] = trail
        if kind not in ASKS:
            self.waits = deadlock.arrived(self.waits, to, sender)
        self.posted.append(envelope)

    def _tell(self, who: str, kind: str, what: str, cause: Mapping[str, Any] | None, known: Sequence[str] = ()) -> None:
        """An error that a peer can act on."""
        self._note(kind, who, what)
        expected = f"one of: {', '.join(known)}" if known else "go on without it: answer with what you have"
        self._send(HOUSE, who, "error", fault(what, kind, expected), cause)

    def _note(self, kind: str, who: str, what: str, cycle: Sequence[str] = ()) -> None:
        self.incidents.append({"kind": kind, "who": who, "cycle": [*cycle], "what": what})
        if kind not in ("unknown", "unanswered", "barred", "schema"):
            self._flaw(what)

    def _flaw(self, what: str) -> None:
        if what not in self.flaws:
            self.flaws.append(what)

    def _circle(self, kind: str, cycle: list[str]) -> None:
        """A loop or a deadlock: to be broken at once, or put to a person."""
        who = deadlock.victim(cycle, self.net.priority)
        found: Incident = {
            "kind": kind,
            "who": who,
            "cycle": cycle,
            "what": f"{kind}: {' -> '.join([*cycle, cycle[0]])}",
        }
        if not self.net.ask:
            self._break(found, who)
        elif found not in self.pending:
            self.pending.append(found)

    def _break(self, found: Incident, who: str) -> None:
        what = f"{found['what']}; {who} gives up"
        others = [name for name in found["cycle"] if name != who]
        if found["kind"] == "loop":
            self.barred[who] = sorted({*self.barred.get(who, []), *others})
        self.waits = deadlock.release(self.waits, who)
        self._note(found["kind"], who, what, found["cycle"])
        why = fault(what, found["kind"], "answer with what you have")
        self._send(HOUSE, who, "error", why, self._job(who)["last"])

    def decide(self, incidents: Sequence[Incident], decisions: Sequence[Mapping[str, Any]]) -> None:
        """What a person said about loops and deadlocks."""
        for found, said in zip(incidents, decisions, strict=bool(decisions)):
            if said["type"] == "reject":
                self.finish("degraded", f"{found['what']}; a person ended it")
            else:
                self._break(found, (said.get("args") or {}).get("victim", found["who"]))

    def look_at_goal(self) -> None:
        """End the turn when the goal holds; it is a function of the user's, on data it may not have foreseen."""
        try:
            if self.net.goal is not None and self.net.goal(self.view()):
                self.finish("completed", "the goal is reached")
        except Exception as error:
            self._flaw(f"the goal cannot be judged: {type(error).__name__}: {error}"[:400])

    def unlock(self) -> None:
        """Find deadlocks: each is broken, or put to a person."""
        while not self.end and (cycle := deadlock.cycle(self.waits)):
            self._circle("deadlock", cycle)
            if self.pending:
                return

    def hand_over(self) -> None:
        """Mail to everybody who has some and does not wait; when nobody has, what is left to be done."""
        self._check()
        if not self.end and not self._ready() and self.waits:
            for who in sorted(self.waits):
                on = ", ".join(self.waits[who]["on"])
                self.waits = deadlock.release(self.waits, who)
                what = f"{who} waited for {on}, who had nothing more to say"
                self._tell(who, "unanswered", what, self._job(who)["last"])
            self._check()
        if not self.end and not self._ready():
            return self._quiet()
        for name in [] if self.end else self._ready():
            self.boxes[name], self.handed[name] = emptied(self.boxes[name])
            self.jobs[name] = absorbed(self._job(name), self.handed[name])

    def _ready(self) -> list[str]:
        return [
            name for name in self.net.peers if (self.boxes.get(name) or empty())["ready"] and name not in self.waits
        ]

    def _check(self) -> None:
        """Envelopes that are late, forged or do not fit never reach a peer: their sender is told."""
        for name in self._ready():
            kept = []
            for letter in self.boxes[name]["ready"]:
                found = take(letter, now=self.now, schemas=self.net.schemas, keys=self.net.keys)
                if isinstance(found, Envelope):
                    kept.append(letter)
                    continue
                self._note(found.reason, letter["sender"], f"{letter['sender']} -> {name}: {found.what}")
                if letter["sender"] == USER:
                    self.finish("failed", f"{name} was not asked: {found.what}")
                elif letter["kind"] != "error" and letter["sender"] in self.net.peers:
                    self._send(HOUSE, letter["sender"], "error", found.model_dump(mode="json"), letter)
            self.boxes[name] = {**self.boxes[name], "ready": kept}

    def _quiet(self) -> None:
        """Nothing is in flight: the entry peer's last word is the answer; one that has none is asked for it once."""
        entry = self.net.entry
        if self.net.goal is not None:
            self._flaw("nothing is in flight, and the goal is not reached")
        if entry in self.words or self.closed:
            return self.finish("completed", "")
        self.closed = True
        self._put(HOUSE, entry, "event", {"subject": CLOSE}, None, 0, [])
        self.boxes[entry], self.handed[entry] = emptied(self.boxes[entry])
        self.jobs[entry] = absorbed(self._job(entry), self.handed[entry])

    def finish(self, outcome: Outcome, reason: str, answer: Any = None, by: str = "") -> None:
        """End the turn; the first end counts. What went wrong on the way makes a completed turn degraded."""
        if self.end:
            return
        best = self._best() if answer is None and outcome != "failed" else answer
        author = by if answer is not None else self._last_speaker()
        if outcome == "completed" and self.flaws:
            outcome = "degraded"
        said = [reason, *(flaw for flaw in self.flaws if flaw not in reason)]
        self.end = ended(outcome, reasons(*said), answer=best, author=author)

    def _last_speaker(self) -> str:
        if self.net.entry in self.words:
            return self.net.entry
        return max(sorted(self.words), key=lambda name: self.words[name]["round"], default="")

    def _best(self) -> Any:
        """The entry peer's last word, else the newest of all."""
        return self.words[who]["output"] if (who := self._last_speaker()) else None

    def view(self) -> View:
        """What a goal is judged on."""
        said = {name: word["output"] for name, word in self.words.items()}
        return {"words": said, "round": self.round, "messages": self.sent}

    def update(self) -> dict[str, Any]:
        """What changed."""
        ways = {letter["id"] for mail in self.handed.values() for letter in mail}
        ways |= {letter["id"] for box in self.boxes.values() for letter in box["ready"]}
        ways |= {letter["id"] for mail in self.before.values() for letter in mail if self.pending}
        return {
            "round": self.round,
            "said": Overwrite({}),
            "boxes": self.boxes,
            "handed": self.before if self.pending else self.handed,
            "jobs": self.jobs,
            "words": self.words,
            "trails": {name: self.trails[name] for name in self.trails if name in ways},
            "counts": self.counts,
            "sent": self.sent,
            "waits": self.waits,
            "barred": self.barred,
            "flaws": self.flaws,
            "incidents": self.incidents,
            "open": self.pending,
            "decisions": [],
            "closed": self.closed,
            "talk": [shown(envelope) for envelope in self.posted],
            **self.end,
        }
