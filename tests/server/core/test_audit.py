import pytest

from om_server.core.audit import AuditEntry, moment


@pytest.mark.parametrize("name", ["secret", "new_password", "key_hash", "reset_token", "session_cookie"])
def test_what_must_not_be_written_down_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        AuditEntry("CreateKey", "key", "key_1", after={name: "x"})
    with pytest.raises(ValueError, match=name):
        AuditEntry("CreateKey", "key", "key_1", before={name: "x"})


def test_what_may_be_shown_of_a_key_may_be_written_down() -> None:
    AuditEntry("CreateKey", "key", "key_1", after={"masked_secret": "apc_...x4f2"})


def test_a_cap_on_tokens_is_no_token() -> None:
    AuditEntry("CreateVersion", "prompt_version", "p/1", after={"max_tokens": 500})


def test_a_time_is_shown_in_utc() -> None:
    assert moment(1_790_000_000_000_000) == "2026-09-21T14:13:20+00:00"
    assert moment(None) is None
