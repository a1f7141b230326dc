"""Which RPCs of the contract this server answers with NOT_IMPLEMENTED, exactly.

An RPC that is written leaves this list; one that is lost comes back to it.
"""

import pytest

from om_server.account.administration.servicer import AdminServicer
from om_server.account.oidc.servicer import OidcServicer
from om_server.account.people.servicer import PeopleServicer
from om_server.account.registration.servicer import RegistrationServicer
from om_server.analytics.servicer import AnalyticsServicer
from om_server.ingestion.servicer import IngestionServicer
from om_server.pipeline.edge_servicer import EdgeServicer
from om_server.pipeline.entitlement_servicer import EntitlementServicer
from om_server.prompt.servicer import PromptServicer
from om_server.rating.servicer import RatingServicer
from om_server.rpc.contract import SERVICES
from om_server.rpc.unimplemented import not_implemented, service_of
from om_server.wallet.servicer import WalletServicer

SERVICERS = (
    PeopleServicer,
    AdminServicer,
    AnalyticsServicer,
    EdgeServicer,
    EntitlementServicer,
    IngestionServicer,
    OidcServicer,
    PromptServicer,
    RatingServicer,
    RegistrationServicer,
    WalletServicer,
)

MISSING: dict[str, set[str]] = {
    "om.account.v1.AccountService": set(),
    "om.account.v1.AdminService": set(),
    "om.account.v1.OidcService": set(),
    "om.account.v1.RegistrationService": set(),
    "om.analytics.v1.AnalyticsService": set(),
    "om.edge.v1.EdgeService": set(),
    "om.ingestion.v1.IngestionService": set(),
    "om.prompt.v1.PromptService": set(),
    "om.rating.v1.RatingService": set(),
    "om.wallet.v1.EntitlementService": set(),
    "om.wallet.v1.WalletService": set(),
}


@pytest.mark.parametrize("service", sorted(MISSING))
def test_exactly_these_rpcs_are_not_written_yet(service: str) -> None:
    missing = {path for path in not_implemented(SERVICERS) if path.startswith(f"{service}/")}

    assert missing == {f"{service}/{name}" for name in MISSING[service]}


def test_every_servicer_is_in_the_table() -> None:
    assert {service_of(servicer) for servicer in SERVICERS} <= set(MISSING) == set(SERVICES)
