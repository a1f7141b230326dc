"""Prompts and their versions: how versions are numbered, and that none or one of them is active. Pure.

Times are microseconds since 1970 in UTC.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass

from om_server.core.errors import InvalidArgument, NotFound


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt by its key, which is its identity for ever.

    `active_since` is when the last activation took effect, or the last end of one; 0 before the first.
    """

    prompt_key: str
    create_time: int
    description: str = ""
    auto_created: bool = False
    version_count: int = 0
    active_version: int | None = None
    active_since: int = 0

    def __post_init__(self) -> None:
        if self.active_version is not None and not 1 <= self.active_version <= self.version_count:
            raise ValueError("the active version is none of the prompt's")

    def grown(self) -> "Prompt":
        """Return the prompt with one version more, whose number is its count: from 1, without gaps."""
        return dataclasses.replace(self, version_count=self.version_count + 1)

    def activated(self, version: int | None, now: int) -> "Prompt":
        """Return the prompt with another version active, or with none; itself if that is so already.

        NOT_FOUND for a version that it does not have. The time lies behind the last activation's, also
        where another machine's clock was ahead, so that the history has an order.
        """
        if version is not None and not 1 <= version <= self.version_count:
            raise NotFound("version", f"{self.prompt_key}/{version}")
        if version == self.active_version:
            return self
        return dataclasses.replace(self, active_version=version, active_since=max(now, self.active_since + 1))


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a version fixes; None, or an empty model, is what it leaves open. The metadata is JSON text."""

    model: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    metadata_json: str = "{}"


@dataclass(frozen=True, slots=True)
class Version:
    """One configuration of a prompt, which never changes but for being active."""

    version: int
    configuration: Configuration
    create_time: int
    active: bool = False


@dataclass(frozen=True, slots=True)
class VersionRequest:
    """A version for a prompt, active or not, under the caller's key, by which a repeat is known."""

    prompt_key: str
    configuration: Configuration
    idempotency_key: str
    active: bool = False

    @property
    def request_hash(self) -> str:
        """SHA-256 of what is asked for, by which a repeat is told from another request."""
        asked = [self.prompt_key, self.active, *dataclasses.astuple(self.configuration)]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def check_key(prompt_key: str) -> None:
    """Refuse a key that no call could name: the proxy takes blanks away from both ends."""
    if not prompt_key or prompt_key != prompt_key.strip():
        raise InvalidArgument("prompt_key", "empty, or with blanks at an end")
