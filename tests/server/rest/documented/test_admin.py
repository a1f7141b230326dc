"""Who gets at the administration; what it does is in tests/e2e/test_admin.py."""

import httpx
import pytest

from om_server.core.errors import CredentialMissing
from om_server.rest.documented.admin import AdminAccess, SuperAdminRequired
from om_server.rest.request import CallContext
from tests.server.rest.fake_servicer import Memory

pytestmark = pytest.mark.asyncio(loop_scope="session")

ACCESS = AdminAccess("the-token-of-the-operator", "the-service-token")
PATHS = ("/v1/admin/me", "/v1/admin/stats", "/v1/admin/customers", "/v1/admin/customers/org_x")


@pytest.mark.parametrize("path", PATHS)
async def test_without_a_token_no_path_is_there(client: httpx.AsyncClient, memory: Memory, path: str) -> None:
    answer = await client.get(path)

    assert answer.status_code == 404
    assert answer.json() == {
        "message": f"Route GET:{path} not found",
        "error": "Not Found",
        "statusCode": 404,
    }


async def test_the_right_token_becomes_the_credential_of_our_own_processes() -> None:
    found = ACCESS.context(CallContext("the-token-of-the-operator", "req-1"))

    assert found == CallContext("the-service-token", "req-1")


@pytest.mark.parametrize("credential", ["om_live_key", "the-service-token", "the-token-of-the-operato"])
async def test_any_other_credential_is_refused(credential: str) -> None:
    with pytest.raises(SuperAdminRequired, match="Super admin access required"):
        ACCESS.context(CallContext(credential, "req-1"))


async def test_no_credential_is_missing() -> None:
    with pytest.raises(CredentialMissing):
        ACCESS.context(CallContext("", "req-1"))


async def test_no_token_is_ever_shown() -> None:
    assert "token" not in repr(ACCESS)
