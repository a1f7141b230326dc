"""Prompts as they are kept. The caller opens the transaction; every query names its organization."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import peewee

from om_server.core.errors import IdempotencyKeyReused
from om_server.prompt.attachment import Activation, Standing, Timeline
from om_server.prompt.record import MODELS, ActivationRow, PromptRow, VersionRow
from om_server.prompt.version import Configuration, Prompt, Version, VersionRequest
from om_server.storage.batch import BatchWriter
from om_server.storage.database import Database
from om_server.storage.statement import Statement, among, given

__all__ = ["MODELS", "PromptStore"]

_KEEP = "ON CONFLICT DO NOTHING"


class PromptStore:
    """Prompts of any organization, one at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batch = BatchWriter(database)
        standings: peewee.ModelSelect[Any] = PromptRow.select(
            PromptRow.prompt_key, PromptRow.active_version, PromptRow.active_since
        )
        self._standings = Statement(
            database,
            standings.where(
                (PromptRow.organization_id == given("organization_id"))
                & among(database, PromptRow.prompt_key, "prompt_keys")
            ),
        )

    def add(self, organization_id: str, prompt: Prompt) -> bool:
        """Add a prompt without versions; False if its key is taken."""
        insert = PromptRow.insert(
            organization_id=organization_id,
            prompt_key=prompt.prompt_key,
            description=prompt.description,
            auto_created=prompt.auto_created,
            version_count=prompt.version_count,
            active_version=prompt.active_version,
            active_since=prompt.active_since,
            create_time=prompt.create_time,
        ).on_conflict_ignore()
        return bool(list(insert.returning(PromptRow.prompt_key).tuples().execute()))

    def note_uses(self, organization_id: str, prompt_keys: Sequence[str], *, now: int) -> None:
        """Add prompts that came into being by use, in the order given; what is there already stays."""
        rows = [(organization_id, key, "", True, 0, None, 0, now) for key in prompt_keys]
        self._batch.insert(PromptRow, rows, on_conflict=_KEEP)

    def find(self, organization_id: str, prompt_key: str) -> Prompt | None:
        row = PromptRow.get_or_none(*_of_prompt(PromptRow, organization_id, prompt_key))
        return None if row is None else _prompt_from_row(row)

    def lock(self, organization_id: str, prompt_key: str) -> Prompt | None:
        """Return a prompt that is to be written; others who write it wait."""
        query: peewee.ModelSelect[Any] = PromptRow.select().where(
            *_of_prompt(PromptRow, organization_id, prompt_key)
        )
        row: Any = next(iter(self._database.locked(query)), None)
        return None if row is None else _prompt_from_row(row)

    def save(self, organization_id: str, prompt: Prompt) -> None:
        """Write what may change of a prompt."""
        PromptRow.update(
            description=prompt.description,
            version_count=prompt.version_count,
            active_version=prompt.active_version,
            active_since=prompt.active_since,
        ).where(*_of_prompt(PromptRow, organization_id, prompt.prompt_key)).execute()

    def page(self, organization_id: str, *, after: str, limit: int) -> list[Prompt]:
        """Return prompts by key, those behind one; every key is behind the empty one."""
        query = PromptRow.select().where(
            (PromptRow.organization_id == organization_id) & (PromptRow.prompt_key > after)
        )
        return [_prompt_from_row(row) for row in query.order_by(PromptRow.prompt_key).limit(limit)]

    def standings(self, organization_id: str, prompt_keys: Sequence[str]) -> dict[str, Standing]:
        """Return which version is active of each of these that there is."""
        rows = self._standings.rows(organization_id=organization_id, prompt_keys=prompt_keys)
        return {key: Standing(version, since) for key, version, since in rows}

    def timelines(self, organization_id: str, latest: Mapping[str, int]) -> dict[str, Timeline]:
        """Return the history of prompts up to the latest of the times that they are given with."""
        if not latest:
            return {}
        query = ActivationRow.select().where(
            (ActivationRow.organization_id == organization_id)
            & ActivationRow.prompt_key.in_(sorted(latest))
            & (ActivationRow.from_time <= max(latest.values()))
        )
        found: dict[str, list[Activation]] = {key: [] for key in latest}
        for row in query.order_by(ActivationRow.from_time):
            found[row.prompt_key].append(Activation(row.from_time, row.version))
        return {key: Timeline(activations) for key, activations in found.items()}

    def add_activation(self, organization_id: str, prompt: Prompt) -> None:
        """Keep for ever what is active of a prompt from now on."""
        ActivationRow.insert(
            organization_id=organization_id,
            prompt_key=prompt.prompt_key,
            from_time=prompt.active_since,
            version=prompt.active_version,
        ).execute()

    def version_of(self, organization_id: str, request: VersionRequest) -> Version | None:
        """Return what was answered to a request before; IDEMPOTENCY_KEY_REUSED if it was another."""
        row = VersionRow.get_or_none(
            VersionRow.organization_id == organization_id,
            VersionRow.idempotency_key == request.idempotency_key,
        )
        if row is None:
            return None
        if row.request_hash != request.request_hash:
            raise IdempotencyKeyReused("CreateVersion")
        return replace(_version_from_row(row), active=row.activated)

    def add_version(self, organization_id: str, request: VersionRequest, version: Version) -> None:
        """Add a version; IDEMPOTENCY_KEY_REUSED if another prompt's took the key at this moment."""
        configuration = version.configuration
        insert = VersionRow.insert(
            organization_id=organization_id,
            prompt_key=request.prompt_key,
            version=version.version,
            model=configuration.model,
            temperature=configuration.temperature,
            max_tokens=configuration.max_tokens,
            metadata=configuration.metadata_json,
            activated=version.active,
            idempotency_key=request.idempotency_key,
            request_hash=request.request_hash,
            create_time=version.create_time,
        ).on_conflict_ignore()
        # The prompt is locked, so that nobody else has taken the number.
        if not list(insert.returning(VersionRow.version).tuples().execute()):
            raise IdempotencyKeyReused("CreateVersion")

    def versions(
        self, organization_id: str, prompt: Prompt, *, before: int | None, limit: int
    ) -> list[Version]:
        """Return versions, newest first: those with lower numbers than one, or all."""
        query = VersionRow.select().where(*_of_prompt(VersionRow, organization_id, prompt.prompt_key))
        if before is not None:
            query = query.where(VersionRow.version < before)
        return [
            replace(_version_from_row(row), active=row.version == prompt.active_version)
            for row in query.order_by(VersionRow.version.desc()).limit(limit)
        ]


def _of_prompt(row: type[PromptRow | VersionRow], organization_id: str, prompt_key: str) -> tuple[Any, ...]:
    return row.organization_id == organization_id, row.prompt_key == prompt_key


def _prompt_from_row(row: PromptRow) -> Prompt:
    return Prompt(
        prompt_key=row.prompt_key,
        create_time=row.create_time,
        description=row.description,
        auto_created=row.auto_created,
        version_count=row.version_count,
        active_version=row.active_version,
        active_since=row.active_since,
    )


def _version_from_row(row: VersionRow) -> Version:
    configuration = Configuration(row.model, row.temperature, row.max_tokens, row.metadata)
    return Version(row.version, configuration, row.create_time)
