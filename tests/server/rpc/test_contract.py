import pytest

from om.account.v1 import account_service_pb2
from om_server.rpc.caller import Principal, Scope
from om_server.rpc.contract import SERVICES, Rpc


def find(service: str, name: str) -> Rpc:
    [rpc] = [rpc for rpc in SERVICES[service] if rpc.name == name]
    return rpc


def test_every_service_of_the_platform_is_known() -> None:
    assert set(SERVICES) == {
        "om.account.v1.AccountService",
        "om.account.v1.AdminService",
        "om.account.v1.OidcService",
        "om.account.v1.RegistrationService",
        "om.analytics.v1.AnalyticsService",
        "om.edge.v1.EdgeService",
        "om.ingestion.v1.IngestionService",
        "om.prompt.v1.PromptService",
        "om.rating.v1.RatingService",
        "om.wallet.v1.EntitlementService",
        "om.wallet.v1.WalletService",
    }


def test_an_rpc_has_the_generated_messages() -> None:
    rpc = find("om.account.v1.AccountService", "CreateKey")

    assert rpc.request_type is account_service_pb2.CreateKeyRequest
    assert rpc.response_type is account_service_pb2.CreateKeyResponse
    assert rpc.path == "om.account.v1.AccountService/CreateKey"


@pytest.mark.parametrize(
    ("service", "name", "allow", "scope"),
    [
        (
            "om.account.v1.AccountService",
            "CreateKey",
            {Principal.KEY, Principal.OWNER},
            Scope.ADMIN,
        ),
        ("om.account.v1.AccountService", "SignIn", {Principal.ANONYMOUS}, None),
        ("om.edge.v1.EdgeService", "Admit", {Principal.SERVICE}, None),
        (
            "om.ingestion.v1.IngestionService",
            "IngestEvents",
            {Principal.KEY, Principal.SERVICE},
            Scope.INGEST,
        ),
    ],
)
def test_access_is_read_from_the_contract(
    service: str, name: str, allow: set[Principal], scope: Scope | None
) -> None:
    rule = find(service, name).access

    assert (set(rule.allow), rule.scope) == (allow, scope)


def test_streams_are_told_apart() -> None:
    streams = {rpc.path for rpcs in SERVICES.values() for rpc in rpcs if rpc.streaming}

    assert "om.edge.v1.EdgeService/Watch" in streams
    assert "om.edge.v1.EdgeService/Admit" not in streams
