"""Values that nothing changes and that cost no more than ones that could be changed.

A frozen dataclass sets each field through a function call, which takes six times as long, and settling one
event makes thirty values. So mypy forbids the change, and at run time nothing does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as value_type
else:

    def value_type(*, frozen: bool, slots: bool) -> type:
        """Make a dataclass that compares and hashes as a frozen one."""
        return dataclass(slots=slots, unsafe_hash=frozen)


__all__ = ["value_type"]
