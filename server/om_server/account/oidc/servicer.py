"""OidcService on the wire."""

import grpc

from om.account.v1 import oidc_service_pb2 as pb
from om.account.v1 import oidc_service_pb2_grpc
from om_server.account.oidc.client import OidcNotConfigured
from om_server.account.oidc.flow import Destination
from om_server.account.oidc.operations import Callback, OidcEntrance
from om_server.account.people.servicer import session_to_proto


class OidcServicer(oidc_service_pb2_grpc.OidcServiceServicer):
    """Translates between messages and sign-ins with a provider, if the installation has one."""

    def __init__(self, entrance: OidcEntrance | None) -> None:
        self._entrance = entrance

    def GetOidcProvider(
        self, request: pb.GetOidcProviderRequest, context: grpc.ServicerContext
    ) -> pb.GetOidcProviderResponse:
        if self._entrance is None:
            return pb.GetOidcProviderResponse(provider=pb.OidcProvider(configured=False))
        name = self._entrance.display_name
        return pb.GetOidcProviderResponse(provider=pb.OidcProvider(configured=True, display_name=name))

    def StartOidcSignIn(
        self, request: pb.StartOidcSignInRequest, context: grpc.ServicerContext
    ) -> pb.StartOidcSignInResponse:
        departure = self._required().start(Destination(request.return_path, request.invite_secret))
        return pb.StartOidcSignInResponse(authorization_url=departure.authorization_url, flow=departure.flow)

    def CompleteOidcSignIn(
        self, request: pb.CompleteOidcSignInRequest, context: grpc.ServicerContext
    ) -> pb.CompleteOidcSignInResponse:
        callback = Callback(request.flow, request.state, request.code, request.issuer, request.error)
        arrival = self._required().complete(callback)
        return pb.CompleteOidcSignInResponse(
            session=session_to_proto(arrival.session), return_path=arrival.return_path
        )

    def _required(self) -> OidcEntrance:
        if self._entrance is None:
            raise OidcNotConfigured
        return self._entrance
