import pytest
from starlette.datastructures import Headers

from om_server.rest.own_page import sent_from_own_page

_PUBLIC = "https://om.example"


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "same-site", "origin": _PUBLIC}, False),
        ({"sec-fetch-site": ""}, False),
        ({"origin": "HTTPS://OM.example"}, True),
        ({"origin": "http://10.0.0.7:3000", "host": "10.0.0.7:3000"}, True),
        ({"origin": "http://10.0.0.7:8081", "host": "10.0.0.7:3000"}, False),
        ({"origin": "http://10.0.0.7", "host": "10.0.0.7:3000"}, False),
        ({"origin": "null", "host": "null"}, False),
        ({"origin": "file://", "host": ""}, False),
        ({"origin": "http://", "host": ""}, False),
        ({"origin": "http://["}, False),
        ({"referer": f"{_PUBLIC}/wallets"}, False),
        ({}, False),
    ],
)
def test_only_an_own_page_is_one(headers: dict[str, str], *, own: bool) -> None:
    assert sent_from_own_page(Headers(headers), _PUBLIC) is own
