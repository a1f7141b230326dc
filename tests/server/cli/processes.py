"""Our own programs as real processes, on ports that were free a moment ago."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from tests.ports import free_ports

if TYPE_CHECKING:
    from pathlib import Path

SERVER = (sys.executable, "-m", "om_server")

_PORTS = (
    "OM_GRPC_PORT",
    "OM_REST_PORT",
    "OM_INGEST_PORT",
    "OM_RATING_PORT",
    "OM_PROXY_PORT",
    "OM_SIMULATED_PROXY_PORT",
    "OM_SIMULATOR_PORT",
)


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """An environment without settings of this machine, with a data folder and ports of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OM_", "LOG_LEVEL"))}
    ports = {name: str(port) for name, port in zip(_PORTS, free_ports(len(_PORTS)), strict=True)}
    return {**kept, **ports, "OM_DATA_DIR": str(folder / "data"), **variables}
