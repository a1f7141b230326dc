"""Which RPCs of the contract this server answers with NOT_IMPLEMENTED, exactly.

An RPC that is written leaves this list; one that is lost comes back to it.
"""

import pytest

from om_server.account.servicer import AccountServicer
from om_server.rpc.contract import SERVICES
from om_server.rpc.unimplemented import not_implemented, service_of

SERVICERS = (AccountServicer,)

MISSING = {
    "om.account.v1.AccountService": {
        "AcceptInvite",
        "CreateCustomer",
        "CreateInvite",
        "CreateUser",
        "ListAuditRecords",
        "ListInvites",
        "ListMembers",
        "RemoveMember",
        "RequestPasswordReset",
        "ResetPassword",
        "RevokeInvite",
        "SignIn",
        "SignOut",
        "SignUp",
        "UpdateMember",
        "UpdateOrganization",
        "UpdateTeam",
    },
}


@pytest.mark.parametrize("service", sorted(MISSING))
def test_exactly_these_rpcs_are_not_written_yet(service: str) -> None:
    missing = {path for path in not_implemented(SERVICERS) if path.startswith(f"{service}/")}

    assert missing == {f"{service}/{name}" for name in MISSING[service]}


def test_every_servicer_is_in_the_table() -> None:
    assert {service_of(servicer) for servicer in SERVICERS} <= set(MISSING) <= set(SERVICES)
