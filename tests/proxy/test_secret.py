from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback

import orjson
import pytest

from om_proxy.secret import Credential, Secret

CANARY = "sk-canary-7f3a"


def test_a_secret_shows_its_mask_wherever_text_is_made_of_it() -> None:
    secret = Secret(CANARY)
    credential = Credential("x-api-key", secret)

    record = logging.makeLogRecord({"msg": "%s %r", "args": (secret, credential)})
    texts = [
        str(secret),
        repr(secret),
        f"{secret:>9}",
        f"{secret!r}",
        repr([credential]),
        record.getMessage(),
    ]

    assert all(CANARY not in text and "***" in text for text in texts)


def test_a_secret_leaves_no_process_by_pickle_or_json() -> None:
    secret = Secret(CANARY)

    assert all(CANARY.encode() not in pickle.dumps(secret, protocol) for protocol in range(2, 6))
    assert CANARY not in repr(object.__getattribute__(secret, "__getstate__")())
    for dump in (json.dumps, orjson.dumps):
        with pytest.raises(TypeError):
            dump({"key": secret})


def test_a_secret_is_not_in_a_traceback_with_locals() -> None:
    def fail(secret: Secret) -> None:
        raise ValueError(secret)

    with pytest.raises(ValueError, match=r"\*\*\*") as caught:
        fail(Secret(CANARY))

    lines = list(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert any("secret = ***" in line for line in lines)
    assert not any(CANARY in line for line in lines)


def test_a_copy_of_a_secret_is_the_secret_itself() -> None:
    credential = Credential("x-api-key", Secret(CANARY))

    assert copy.deepcopy(credential).value.reveal() == CANARY
    assert copy.copy(credential.value) is credential.value


def test_secrets_are_equal_by_their_text() -> None:
    assert Secret(CANARY) == Secret(CANARY)
    assert Secret(CANARY) != Secret("other")
    assert Secret(CANARY) != CANARY
    assert len({Secret(CANARY), Secret(CANARY)}) == 1
    assert not Secret("")
