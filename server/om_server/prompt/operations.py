"""What prompts do: registered, described, versioned, activated, and tracked by settlement.

An operation is one transaction.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from om_server.core.audit import AuditEntry, Facts, moment
from om_server.core.clock import Clock
from om_server.core.errors import AlreadyExists, NotFound, PageTokenInvalid
from om_server.core.event import Event
from om_server.core.page import PageRequest, decode_token, encode_token
from om_server.prompt.attachment import Tracked, attached, late_times, prompt_keys
from om_server.prompt.metadata import check_metadata
from om_server.prompt.store import PromptStore
from om_server.prompt.version import Prompt, Version, VersionRequest, check_key
from om_server.storage.audit import AuditTrail
from om_server.storage.database import Database

# What a column of version numbers can hold.
_VERSION_END = 2**31


@dataclass(frozen=True, slots=True)
class PromptPage:
    """Prompts by key. An empty token is the end."""

    prompts: tuple[Prompt, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class VersionPage:
    """Versions of one prompt, newest first. An empty token is the end."""

    versions: tuple[Version, ...]
    next_page_token: str


class PromptOperations:
    """Prompts of any organization, one at a time."""

    def __init__(self, database: Database, store: PromptStore, *, audit: AuditTrail, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._audit = audit
        self._clock = clock

    def create_prompt(self, organization_id: str, prompt_key: str, *, description: str = "") -> Prompt:
        """Register a prompt; ALREADY_EXISTS if the key is taken, also by a prompt that came by use."""
        check_key(prompt_key)
        prompt = Prompt(prompt_key, self._clock(), description)

        def write() -> Prompt:
            if not self._store.add(organization_id, prompt):
                raise AlreadyExists("prompt", prompt_key)
            self._tell(organization_id, "CreatePrompt", after=prompt)
            return prompt

        return self._database.write(write)

    def get_prompt(self, organization_id: str, prompt_key: str) -> Prompt:
        return _found(self._database.read(lambda: self._store.find(organization_id, prompt_key)), prompt_key)

    def list_prompts(self, organization_id: str, page: PageRequest) -> PromptPage:
        """List prompts by key."""
        arguments = {"list": "prompts"}
        match decode_token(page.token, arguments):
            case None:
                after = ""
            case (str(after),):
                pass
            case _:
                raise PageTokenInvalid
        found = self._database.read(
            lambda: self._store.page(organization_id, after=after, limit=page.size + 1)
        )
        shown, more = tuple(found[: page.size]), len(found) > page.size
        return PromptPage(shown, encode_token((shown[-1].prompt_key,), arguments) if more else "")

    def update_prompt(self, organization_id: str, prompt_key: str, *, description: str) -> Prompt:
        """Describe a prompt anew; NOT_FOUND if there is none."""

        def write() -> Prompt:
            before = _found(self._store.lock(organization_id, prompt_key), prompt_key)
            after = dataclasses.replace(before, description=description)
            self._store.save(organization_id, after)
            self._tell(organization_id, "UpdatePrompt", before=before, after=after)
            return after

        return self._database.write(write)

    def create_version(self, organization_id: str, request: VersionRequest) -> Version:
        """Add a version under the next number, active if it is wished; a missing prompt is made.

        A repeat gets the first answer, whatever is active by then.
        """
        check_metadata(request.configuration.metadata_json, "version.metadata")

        def write() -> Version:
            prompt = self._locked(organization_id, request.prompt_key)
            answered = self._store.version_of(organization_id, request)
            return answered or self._add_version(organization_id, prompt, request)

        return self._database.write(write)

    def list_versions(self, organization_id: str, prompt_key: str, page: PageRequest) -> VersionPage:
        """List the versions of a prompt, newest first; NOT_FOUND if there is no such prompt."""
        arguments = {"list": "versions", "prompt_key": prompt_key}
        before: int | None
        match decode_token(page.token, arguments):
            case None:
                before = None
            case (int(before),) if abs(before) < _VERSION_END:
                pass
            case _:
                raise PageTokenInvalid

        def read() -> list[Version]:
            prompt = _found(self._store.find(organization_id, prompt_key), prompt_key)
            return self._store.versions(organization_id, prompt, before=before, limit=page.size + 1)

        found = self._database.read(read)
        shown, more = tuple(found[: page.size]), len(found) > page.size
        return VersionPage(shown, encode_token((shown[-1].version,), arguments) if more else "")

    def activate_version(self, organization_id: str, prompt_key: str, version: int | None) -> Prompt:
        """Make a version the active one, or none; NOT_FOUND for a prompt or version that there is not."""

        def write() -> Prompt:
            before = _found(self._store.lock(organization_id, prompt_key), prompt_key)
            return self._activate(organization_id, before, version, action="ActivateVersion")

        return self._database.write(write)

    def version_count(self, organization_id: str, prompt_key: str) -> int:
        """Return how many versions are registered, from 1 without gaps; 0 where there is no prompt."""
        found = self._database.read(lambda: self._store.find(organization_id, prompt_key))
        return found.version_count if found else 0

    def track(self, organization_id: str, events: Sequence[Event]) -> Tracked:
        """Give events that name a prompt and no version the version that was active when they happened.

        One small read for each batch, and none for a batch that names no prompt. It joins the settling
        transaction and locks nothing.
        """
        keys = prompt_keys(events)
        if not keys:
            return Tracked(events)

        def read() -> Tracked:
            standings = self._store.standings(organization_id, keys)
            past = self._store.timelines(organization_id, late_times(events, standings))
            new_keys = [key for key in keys if key not in standings]
            return Tracked(attached(events, standings, past=past), new_keys)

        return self._database.read(read)

    def note_uses(self, organization_id: str, new_keys: Sequence[str], *, now: int) -> None:
        """Register prompts on their first use, within the settling transaction.

        They are written in the order given, which is sorted, so that two settlers never wait for each
        other; what somebody else has registered meanwhile stays.
        """
        self._database.write(lambda: self._store.note_uses(organization_id, new_keys, now=now))

    def _locked(self, organization_id: str, prompt_key: str) -> Prompt:
        """Return a prompt that is to be written, made if there is none."""
        found = self._store.lock(organization_id, prompt_key)
        if found is not None:
            return found
        check_key(prompt_key)
        prompt = Prompt(prompt_key, self._clock())
        if self._store.add(organization_id, prompt):
            self._tell(organization_id, "CreatePrompt", after=prompt)
        # Where somebody made it at this moment, it has his time.
        return _found(self._store.lock(organization_id, prompt_key), prompt_key)

    def _add_version(self, organization_id: str, prompt: Prompt, request: VersionRequest) -> Version:
        grown = prompt.grown()
        version = Version(grown.version_count, request.configuration, self._clock(), request.active)
        self._store.save(organization_id, grown)
        self._store.add_version(organization_id, request, version)
        name = f"{prompt.prompt_key}/{version.version}"
        entry = AuditEntry("CreateVersion", "prompt_version", name, after=_version_facts(version))
        self._audit.record(organization_id, entry)
        if version.active:
            self._activate(organization_id, grown, version.version, action="CreateVersion")
        return version

    def _activate(self, organization_id: str, before: Prompt, version: int | None, *, action: str) -> Prompt:
        """Activate in the caller's transaction, which has locked the prompt. What is so already stays."""
        after = before.activated(version, self._clock())
        if after is not before:
            self._store.save(organization_id, after)
            self._store.add_activation(organization_id, after)
            self._tell(organization_id, action, before=before, after=after)
        return after

    def _tell(
        self, organization_id: str, action: str, *, after: Prompt, before: Prompt | None = None
    ) -> None:
        was = None if before is None else _prompt_facts(before)
        entry = AuditEntry(action, "prompt", after.prompt_key, before=was, after=_prompt_facts(after))
        self._audit.record(organization_id, entry)


def _found(prompt: Prompt | None, prompt_key: str) -> Prompt:
    if prompt is None:
        raise NotFound("prompt", prompt_key)
    return prompt


def _prompt_facts(prompt: Prompt) -> Facts:
    return {
        "description": prompt.description,
        "version_count": prompt.version_count,
        "active_version": prompt.active_version,
        "active_since": moment(prompt.active_since or None),
    }


def _version_facts(version: Version) -> Facts:
    configuration = version.configuration
    temperature = configuration.temperature
    return {
        "model": configuration.model,
        "temperature": None if temperature is None else str(temperature),
        "max_tokens": configuration.max_tokens,
        "metadata": configuration.metadata_json,
        "active": version.active,
    }
