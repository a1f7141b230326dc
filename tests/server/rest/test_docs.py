import re
from typing import Any

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


@pytest.mark.parametrize(
    ("address", "media_type"),
    [
        ("/docs/start.js", "text/javascript"),
        ("/docs/assets/swagger-ui-bundle.js", "text/javascript"),
        ("/docs/assets/swagger-ui.css", "text/css"),
        ("/docs/assets/favicon-32x32.png", "image/png"),
    ],
)
async def test_a_browser_takes_each_part_of_the_page_for_what_it_is(
    stranger: httpx.AsyncClient, address: str, media_type: str
) -> None:
    answer = await stranger.get(address)

    assert answer.headers["content-type"].partition(";")[0] == media_type


async def test_every_operation_can_be_found_on_the_page() -> None:
    """The page lists operations by tag, with the summary, and links to them by the operationId."""
    document: Any = load_document()
    tags = [tag["name"] for tag in document["tags"]]
    operations = [
        item[verb] for item in document["paths"].values() for verb in item if "operationId" in item[verb]
    ]

    assert len(set(tags)) == len(tags)
    assert all(operation["summary"] and set(operation["tags"]) <= set(tags) for operation in operations)
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names) >= 140
