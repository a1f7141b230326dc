"""An identity provider over HTTP, once for the module; each test finds it honest, with a new person."""

from collections.abc import Iterator

import pytest

from tests.oidc_provider import Provider, running_provider


@pytest.fixture(scope="module", name="running")
def run_provider() -> Iterator[Provider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture(name="provider")
def honest_provider(running: Provider) -> Provider:
    running.reset()
    return running
