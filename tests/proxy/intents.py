"""Admitted calls without a server."""

from __future__ import annotations

from dataclasses import replace

from om_proxy.authorize import Admission, Key
from om_proxy.call import Call
from om_proxy.dialects.openmonetize import Attribution
from om_proxy.outcome import Intent
from om_proxy.secret import Secret
from tests.proxy.fake_servicer import KEY, KEY_ID, LEASE_ID, LEASE_NANOS

WHO = Attribution(Secret(KEY), "acme", "user_1", "chat")


def intent_for(
    call: Call, *, metadata: bytes | None = None, admission: Admission | None = None, test_mode: bool = False
) -> Intent:
    return Intent(
        "evt_1",
        Key(KEY_ID, "org_test", test_mode),
        replace(WHO, metadata=metadata),
        call,
        Admission("wal_test", LEASE_ID, LEASE_NANOS) if admission is None else admission,
        time_ns=1_700_000_000_123_456_789,
    )
