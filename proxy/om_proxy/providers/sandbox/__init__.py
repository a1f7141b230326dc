"""The provider simulator: official OpenAI, Anthropic and Gemini SDKs take it for the real providers.

`respond` answers one request as values; `running` and `create_app` put it on a socket. What it answers and
how it misbehaves is told by the `X-Sim` request header, see Switches.
"""

from om_proxy.providers.sandbox.exchange import Incoming, Reply, Stamp
from om_proxy.providers.sandbox.respond import respond
from om_proxy.providers.sandbox.server import RECEIVED, Received, Simulator, create_app, running

__all__ = [
    "RECEIVED",
    "Incoming",
    "Received",
    "Reply",
    "Simulator",
    "Stamp",
    "create_app",
    "respond",
    "running",
]
