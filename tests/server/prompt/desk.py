"""Prompts over one database at a time that the test sets, as the composition root joins them."""

import itertools
import secrets
from dataclasses import dataclass, field

from om_server.core.ids import IdSource
from om_server.prompt.operations import PromptOperations
from om_server.prompt.store import PromptStore
from om_server.prompt.version import Configuration, Version, VersionRequest
from om_server.rpc.caller import actor
from om_server.storage.audit import AuditRecord, AuditTrail
from om_server.storage.database import Database

SECOND = 1_000_000
START = 1_790_000_000 * SECOND
ORG, OTHER_ORG = "org_a", "org_b"
KEY = "document-summarizer"


@dataclass
class Desk:
    """Everything of prompts that touches the database. `now` may be moved."""

    database: Database
    now: int = START
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        ids = IdSource(lambda: self.now // 1000, secrets.token_bytes)
        self.audit = AuditTrail(self.database, ids=ids, clock=self.clock, actor=actor)
        self.prompts = PromptOperations(
            self.database, PromptStore(self.database), audit=self.audit, clock=self.clock
        )

    def clock(self) -> int:
        return self.now

    def add(
        self, key: str = KEY, *, active: bool = False, org: str = ORG, **configuration: object
    ) -> Version:
        """Add a version under an idempotency key of its own."""
        wanted = Configuration(**configuration)  # type: ignore[arg-type] # A table's row.
        request = VersionRequest(key, wanted, f"key-{next(self.numbers)}", active)
        return self.prompts.create_version(org, request)

    def records(self, org: str = ORG) -> list[AuditRecord]:
        """What the audit log tells, oldest first."""
        return self.audit.newest(org, before=None, limit=100)[::-1]
