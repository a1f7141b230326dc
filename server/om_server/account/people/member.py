"""Rules of people: who a member is, what his address is, and that an organization keeps an owner."""

import enum
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass, field

from om_server.core.errors import Code, DomainError, InvalidArgument

EMAIL_CHARACTERS_MAX = 254
_SPECIALS = frozenset('"(),:;<>[\\]')


class Role(enum.Enum):
    """What a member may do; the names are the contract's."""

    OWNER = "OWNER"
    MEMBER = "MEMBER"


class LastOwner(DomainError):
    """Nobody would be left who may invite, remove or decide."""

    code = Code.FAILED_PRECONDITION
    reason = "LAST_OWNER"

    def __init__(self, member_id: str) -> None:
        super().__init__(f"{member_id} is the last owner and stays one", member_id=member_id)


@dataclass(frozen=True, slots=True)
class Member:
    """A person in an organization. The address is in its normal form."""

    organization_id: str
    member_id: str
    email: str
    display_name: str
    role: Role
    create_time: int


@dataclass(frozen=True, slots=True)
class Account:
    """A member with what proves who it is.

    An empty hash is no password: such a person signs in through another identity. The address is proven
    when a link was followed that only its mailbox had, or when an identity provider said so.
    """

    member: Member
    password_hash: str = field(repr=False)
    email_proven: bool


def normal_email(text: str) -> str:
    """Return the form under which an address is one account: NFC, lower-case, trimmed.

    INVALID_ARGUMENT for what is no address. Mail servers may tell cases apart, people never do.
    """
    email = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text.strip()).lower())
    local, at, host = email.rpartition("@")
    if not (local and at and host) or any(_means_more(character) for character in email):
        raise InvalidArgument("email", "not an e-mail address")
    if len(email) > EMAIL_CHARACTERS_MAX:
        raise InvalidArgument("email", f"more than {EMAIL_CHARACTERS_MAX} characters")
    return email


def masked_email(email: str) -> str:
    """Return what a log may show of an address: enough for an operator who knows it."""
    local, _, host = email.rpartition("@")
    return f"{local[:1]}***@{host}"


def check_leaves_owner(member_id: str, owner_ids: Collection[str]) -> None:
    """Refuse to take the role from the only owner. The caller holds the owners' rows locked."""
    if set(owner_ids) == {member_id}:
        raise LastOwner(member_id)


def _means_more(character: str) -> bool:
    """Tell whether a character would end the header of a mail, or name somebody else in it (RFC 5322)."""
    return character in _SPECIALS or character.isspace() or unicodedata.category(character).startswith("C")
