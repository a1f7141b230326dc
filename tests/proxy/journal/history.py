"""Random histories of a journal, and what must be known of each after any cut."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from om.type.v1 import event_pb2
from om_proxy.journal.record import LeaseNote
from tests.proxy.journal.scene import event_of, outcome_of

if TYPE_CHECKING:
    import random

    from om_proxy.journal.journal import Journal

_BOUND, _EXTENSION = 100, 40


@dataclass
class _Call:
    name: str
    leases: dict[str, int]
    sent: bool = False
    kept: int | None = None  # Of each lease; None while it is in flight.

    def keeps(self, bound: int) -> int:
        """What a recovery has to say of a lease."""
        if self.kept is not None:
            return self.kept
        return bound if self.sent else 0


@dataclass
class Model:
    """What the records that survive say."""

    calls: dict[str, _Call] = field(default_factory=dict)
    leases: dict[str, bool] = field(default_factory=dict)  # Whether closed.

    def reports(self) -> dict[str, tuple[int, int]]:
        """Count and keep of each lease that is not closed."""
        found = {name: (0, 0) for name, closed in self.leases.items() if not closed}
        for call in self.calls.values():
            for lease_id, bound in call.leases.items():
                if lease_id in found:
                    count, kept = found[lease_id]
                    found[lease_id] = (count + 1, kept + call.keeps(bound))
        return found

    def outcomes(self) -> dict[str, event_pb2.Outcome.ValueType]:
        """How each call ended, as it is to be reported."""
        return {name: _outcome(call) for name, call in self.calls.items()}


class History:
    """Plays at random, and can tell the model at any number of its steps."""

    def __init__(self, journal: Journal, chance: random.Random) -> None:
        self._journal = journal
        self._chance = chance
        self._steps: list[tuple[tuple[int, int], str, tuple[str, ...]]] = []
        self._open: dict[str, _Call] = {}
        self._spendable: list[str] = []
        self._names: defaultdict[str, int] = defaultdict(int)

    def play(self, steps: int) -> None:
        for _ in range(steps):
            getattr(self, f"_{self._chance.choice(_ACTS)}")()

    def model(self, segment: int, size: int) -> Model:
        """What is known if the last segment ends there."""
        model = Model()
        for place, act, words in self._steps:
            if place > (segment, size):
                break
            _APPLY[act](model, words)
        return model

    def _note(self, act: str, *words: str) -> None:
        writer = self._journal._writer
        self._steps.append(((writer.file.number, writer.size), act, words))

    def _name(self, kind: str) -> str:
        self._names[kind] += 1
        return f"{kind}_{self._names[kind]}"

    def _learn(self) -> None:
        lease_id = self._name("lse")
        self._journal.learn(lease_id)
        self._spendable.append(lease_id)
        self._note("learn", lease_id)

    def _begin(self) -> None:
        count = min(len(self._spendable), self._chance.randint(0, 2))
        call = _Call(self._name("evt"), dict.fromkeys(self._chance.sample(self._spendable, count), _BOUND))
        self._journal.intend(event_of(call.name, call.leases))
        self._open[call.name] = call
        self._note("begin", call.name, *call.leases)

    def _send(self) -> None:
        if unsent := [call for call in self._open.values() if not call.sent]:
            call = self._chance.choice(unsent)
            call.sent = True
            self._journal.sent(call.name)
            self._note("send", call.name)

    def _extend(self) -> None:
        sent = [call for call in self._open.values() if call.sent]
        if sent and self._spendable:
            call, lease_id = self._chance.choice(sent), self._chance.choice(self._spendable)
            call.leases[lease_id] = call.leases.get(lease_id, 0) + _EXTENSION
            self._journal.extend(event_of(call.name, call.leases))
            self._note("extend", call.name, lease_id)

    def _check(self) -> None:
        if sent := [call for call in self._open.values() if call.sent]:
            call = self._chance.choice(sent)
            self._journal.checkpoint(event_of(call.name, call.leases))
            self._note("check", call.name)

    def _end(self) -> None:
        if sent := [call for call in self._open.values() if call.sent]:
            call = self._chance.choice(sent)
            kept = self._chance.randint(0, _BOUND // 2)
            self._journal.conclude(outcome_of(call.name, call.leases, kept=kept))
            del self._open[call.name]
            self._note("end", call.name, str(kept))

    def _close(self) -> None:
        if self._spendable:
            lease_id = self._spendable.pop(self._chance.randrange(len(self._spendable)))
            self._journal.closing(LeaseNote(lease_id, 1, 2))
            self._note("closing", lease_id)
            if self._chance.random() < 0.7:
                self._journal.closed(LeaseNote(lease_id, 1, 2))
                self._note("close", lease_id)


def _outcome(call: _Call) -> event_pb2.Outcome.ValueType:
    if not call.sent:
        return event_pb2.OUTCOME_ZERO
    return event_pb2.OUTCOME_UNKNOWN if call.kept is None else event_pb2.OUTCOME_CHARGED


_ACTS = ("learn", "begin", "begin", "begin", "send", "send", "send", "extend", "check", "end", "end", "close")


def _learnt(model: Model, words: tuple[str, ...]) -> None:
    model.leases[words[0]] = False


def _begun(model: Model, words: tuple[str, ...]) -> None:
    model.calls[words[0]] = _Call(words[0], dict.fromkeys(words[1:], _BOUND))


def _sent(model: Model, words: tuple[str, ...]) -> None:
    model.calls[words[0]].sent = True


def _extended(model: Model, words: tuple[str, ...]) -> None:
    leases = model.calls[words[0]].leases
    leases[words[1]] = leases.get(words[1], 0) + _EXTENSION


def _ended(model: Model, words: tuple[str, ...]) -> None:
    model.calls[words[0]].kept = int(words[1])


def _closed(model: Model, words: tuple[str, ...]) -> None:
    model.leases[words[0]] = True


def _nothing(model: Model, words: tuple[str, ...]) -> None:
    """Changes nothing of what is known."""


_APPLY = {
    "learn": _learnt,
    "begin": _begun,
    "send": _sent,
    "extend": _extended,
    "check": _nothing,
    "end": _ended,
    "closing": _nothing,
    "close": _closed,
}
