"""Admitted calls without a server."""

from __future__ import annotations

from dataclasses import replace

from om_proxy.admission.keys import Key
from om_proxy.admission.outcome import Intent
from om_proxy.call.call import Call
from om_proxy.dialects.attribution import Attribution
from om_proxy.funding.grant import Grant
from om_proxy.funding.purse import Part
from om_proxy.secret import Secret
from tests.proxy.fake_servicer import KEY, KEY_ID, LEASE_ID, LEASE_NANOS

WHO = Attribution(Secret(KEY), "acme", "user_1", "chat")


def intent_for(
    call: Call, *, metadata: bytes | None = None, grant: Grant | None = None, test_mode: bool = False
) -> Intent:
    return Intent(
        "evt_1",
        Key(KEY_ID, "org_test", test_mode),
        replace(WHO, metadata=metadata),
        call,
        Grant("wal_test", (Part(LEASE_ID, LEASE_NANOS),)) if grant is None else grant,
        time_ns=1_700_000_000_123_456_789,
    )
