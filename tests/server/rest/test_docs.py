import re

import httpx
import pytest

from om_server.rest.docs import load_document

pytestmark = pytest.mark.asyncio(loop_scope="session")

ADDRESS = re.compile(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)["']""")


@pytest.mark.parametrize("path", ["/docs", "/docs/"])
async def test_the_page_loads_nothing_from_elsewhere(stranger: httpx.AsyncClient, path: str) -> None:
    page = await stranger.get(path)

    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    start = (await stranger.get("/docs/start.js")).text
    addresses = [*ADDRESS.findall(page.text), *ADDRESS.findall(start)]
    assert len(addresses) == 5
    for address in addresses:
        assert address.startswith("/docs/")
        loaded = await stranger.get(address)
        assert loaded.status_code == 200, address
        assert loaded.content
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "validatorUrl: null" in start


async def test_the_document_is_served_as_it_is_routed(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.get("/docs/openapi.json")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == load_document()


async def test_an_asset_that_does_not_exist_is_404(stranger: httpx.AsyncClient) -> None:
    assert (await stranger.get("/docs/assets/nope.js")).status_code == 404
    assert (await stranger.get("/docs/assets/..%2f..%2f__init__.py")).status_code == 404
