"""A network that loses, repeats, delays and reorders whatever is sent, as its chance says."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable


@dataclass
class Network:
    """Messages in flight. A message is a name and what its arrival does."""

    chance: random.Random
    meetings: Counter[str]
    drop: float = 0.1
    repeat: float = 0.1
    flying: list[tuple[str, Callable[[], None]]] = field(default_factory=list)

    def send(self, name: str, arrive: Callable[[], None], *, loss: str = "") -> None:
        """Send; `loss` is the meeting that its loss is counted as."""
        if self.chance.random() < self.drop:
            if loss:
                self.meetings[loss] += 1
            return
        self.flying.append((name, arrive))
        if self.chance.random() < self.repeat:
            self.flying.append((name, arrive))

    def deliver(self) -> str:
        """Let any one message arrive, and return its name; empty if there is none."""
        if not self.flying:
            return ""
        name, arrive = self.flying.pop(self.chance.randrange(len(self.flying)))
        arrive()
        return name

    def heal(self) -> None:
        """From now on everything arrives once. What is in flight already may still arrive twice."""
        self.drop = self.repeat = 0.0
