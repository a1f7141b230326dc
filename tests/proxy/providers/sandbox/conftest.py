from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from om_proxy.providers.sandbox import Simulator, running


@pytest_asyncio.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with running(record=True) as simulator:
        yield simulator
