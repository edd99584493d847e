"""Envelopes: nothing forged, late or misshapen reaches an agent, and whoever sent it is told what is wrong."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import breaks
from pydantic import BaseModel, ConfigDict, ValidationError

from state import envelope
from state.envelope import KINDS, SCHEMAS, Envelope, Fault, child, error, late, message_id, sign, take

KEYS = {"ann": b"ann's key", "bob": b"bob's key"}
NAMES = st.sampled_from(["ann", "bob"])
TIMES = st.floats(0, 1e6)
DEADLINES = st.none() | TIMES
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "id": st.text(min_size=1, max_size=4),
    "conversation": st.text(max_size=2),
    "sender": NAMES,
    "recipient": NAMES,
    "kind": st.sampled_from(KINDS),
    "payload": st.dictionaries(st.text(max_size=3), PLAIN, max_size=3),
    "schema_name": st.text(max_size=3),
    "schema_version": st.integers(1, 3),
    "sequence": st.integers(1, 9),
    "causation": st.text(max_size=3),
    "sent_at": TIMES,
    "deadline": DEADLINES,
    "hops": st.integers(0, 5),
}
ENVELOPES = st.builds(Envelope, **FIELDS)
TASK = {"what": "dig", "constraints": [], "success": ["a hole"], "otherwise": "say so"}


class Anything(BaseModel):
    model_config = ConfigDict(extra="allow")


def letter(**changes: Any) -> Envelope:
    fields = {"id": "1", "conversation": "c", "sender": "ann", "recipient": "bob", "kind": "task", "payload": TASK}
    return Envelope(**{**fields, **changes})


def fault(raw: Any, **options: Any) -> Fault:
    found = take(raw, now=0, **options)
    assert isinstance(found, Fault)
    return found


# Schemas


def test_what_fits_its_schema_is_taken_as_it_is() -> None:
    assert take(letter().plain, now=0) == letter()


def test_a_task_says_what_to_do_the_constraints_success_and_what_else() -> None:
    for part in TASK:
        short = {k: v for k, v in TASK.items() if k != part}
        assert (fault(letter(payload=short)).where, fault(letter(payload=short)).reason) == (part, "schema")


def test_a_status_says_what_is_done_what_blocks_and_what_was_consumed() -> None:
    whole = {"done": ["a"], "blocked": [], "consumed": {"tokens": 3}}
    assert isinstance(take(letter(kind="status", payload=whole), now=0), Envelope)
    for part in whole:
        found = fault(letter(kind="status", payload={k: v for k, v in whole.items() if k != part}))
        assert found.where == part


def test_a_misfit_says_what_where_what_was_expected_and_that_it_may_be_sent_again() -> None:
    found = fault(letter(payload={**TASK, "success": 7}))
    assert (found.where, found.expected, found.retryable) == ("success", "task version 1", True)
    assert "valid list" in found.what


def test_the_schema_is_chosen_by_name_and_version() -> None:
    class Bid(BaseModel):
        price: int

    schemas = {("bid", 1): Bid, ("sealed", 2): Anything}
    assert isinstance(take(letter(kind="bid", payload={"price": 3}), now=0, schemas=schemas), Envelope)
    assert fault(letter(kind="bid", payload={}), schemas=schemas).where == "price"
    sealed = letter(kind="bid", schema_name="sealed", schema_version=2, payload={})
    assert isinstance(take(sealed, now=0, schemas=schemas), Envelope)
    unknown = fault(letter(kind="bid", schema_version=9), schemas=schemas)
    assert (unknown.where, unknown.expected, unknown.retryable) == ("schema_name", "one of: bid 1, sealed 2", False)


@pytest.mark.parametrize(
    "wrong", [{}, {"kind": "gossip"}, {"sequence": 0}, {"deadline": float("nan")}, {"extra": 1}, {"payload": [1]}]
)
def test_what_is_no_envelope_is_a_fault_and_never_an_exception(wrong: dict[str, Any]) -> None:
    raw = {**letter().plain, **wrong} if wrong else {}
    assert fault(raw).reason == "schema"
    assert fault(raw).where


def test_an_envelope_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        letter().sender = "eve"


def test_an_error_answers_its_sender_without_a_deadline() -> None:
    asked = letter(deadline=5.0, hops=2)
    found = take(asked, now=6)
    assert isinstance(found, Fault)
    said = error(asked, found, sender="bob", sequence=1, sent_at=6)
    assert (said.recipient, said.causation, said.hops, said.deadline) == ("ann", asked.id, 3, None)
    assert isinstance(take(said, now=1e9), Envelope)


# Deadlines


def test_past_its_deadline_it_is_a_temporal_error_when_taken_and_before_an_effect() -> None:
    asked = letter(deadline=5.0)
    assert take(asked, now=5.0) == asked
    assert late(asked, 5.0) is None
    for found in (take(asked, now=5.5), late(asked, 5.5)):
        assert isinstance(found, Fault)
        assert (found.reason, found.where, found.retryable) == ("temporal", "deadline", False)


@given(ENVELOPES, DEADLINES)
def test_a_child_is_never_due_later_than_its_parent(parent: Envelope, own: float | None) -> None:
    made = child(parent, sender="bob", recipient="ann", kind="status", sequence=3, sent_at=1.0, deadline=own)
    assert parent.deadline is None or (made.deadline is not None and made.deadline <= parent.deadline)
    assert own is None or (made.deadline is not None and made.deadline <= own)
    assert (made.causation, made.conversation, made.hops) == (parent.id, parent.conversation, parent.hops + 1)
    assert made.id == message_id(parent.conversation, "bob", 3)


def test_a_child_that_takes_its_own_deadline_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope, "due", lambda own, parents: own)
    breaks(test_a_child_is_never_due_later_than_its_parent)


# Signatures


@given(ENVELOPES, st.sampled_from(sorted(FIELDS)), st.data())
def test_a_change_of_any_field_is_refused(sent: Envelope, name: str, data: st.DataObject) -> None:
    schemas = {sent.schema_key: Anything}
    signed = sign(sent, KEYS[sent.sender])
    assert envelope.forged(signed, KEYS) is None
    other = data.draw(FIELDS[name])
    changed = signed.model_copy(update={name: other})
    if changed.model_dump_json() != signed.model_dump_json():
        found = take(changed, now=0, schemas={**schemas, changed.schema_key: Anything}, keys=KEYS)
        assert isinstance(found, Fault)
        assert (found.reason, found.retryable) == ("signature", False)


def test_a_signature_over_the_payload_alone_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope, "_mac", lambda one, key: envelope.json.dumps(one.payload).encode())
    breaks(test_a_change_of_any_field_is_refused)


def test_who_has_no_key_or_another_one_is_refused() -> None:
    eve = letter(sender="eve")
    assert fault(sign(eve, b"eve's key"), keys=KEYS).what == "eve has no key"
    assert fault(sign(letter(), KEYS["bob"]), keys=KEYS).what == "this was not signed as it is by ann"
    assert fault(letter(), keys=KEYS).reason == "signature"
    assert take(sign(letter(), KEYS["ann"]), now=0, keys=KEYS) == sign(letter(), KEYS["ann"])


@given(st.dictionaries(st.sampled_from([*FIELDS, "signature", "x"]), PLAIN | TIMES), TIMES)
def test_whatever_comes_is_taken_or_refused_and_never_raises(raw: dict[str, Any], now: float) -> None:
    assert isinstance(take(raw, now=now, schemas=SCHEMAS, keys=KEYS), Envelope | Fault)


def test_a_signed_envelope_survives_the_way_through_a_channel() -> None:
    signed = sign(letter(payload={**TASK, "context": {"né": [1, 2.5, None]}}), KEYS["ann"])
    assert take(envelope.json.loads(envelope.json.dumps(signed.plain)), now=0, keys=KEYS) == signed
