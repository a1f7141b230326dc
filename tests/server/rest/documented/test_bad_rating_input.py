"""Requests to rating, burn tables, entitlements, analytics and sandbox that are refused for their shape."""

import httpx
import pytest

from tests.server.rest.fake_servicer import Memory

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALCULATE = "/v1/rating/calculate"
BULK = "/v1/rating/calculate/bulk"
TABLES = "/v1/burn-tables"
ENTITLEMENTS = "/v1/entitlements"
CHECK = "/v1/entitlements/check"

#: The routes whose 400 is the plain form.
PLAIN = {CALCULATE, BULK, TABLES}
LONG = "x" * 256


def refusal(path: str, message: str) -> dict[str, object]:
    plain: dict[str, object] = {"error": "Bad Request", "message": message}
    return plain if path in PLAIN else {"statusCode": 400, "code": "FST_ERR_VALIDATION", **plain}


@pytest.mark.parametrize("path", [CALCULATE, BULK, TABLES, ENTITLEMENTS, CHECK])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "Body is not valid JSON but content-type is set to 'application/json'"),
        (b'{"a": NaN}', "Body is not valid JSON but content-type is set to 'application/json'"),
        (b'{"a": "\\ud800"}', "Body is not valid JSON but content-type is set to 'application/json'"),
        (b"\xff", "Body is not valid JSON but content-type is set to 'application/json'"),
        (b"", "Body cannot be empty when content-type is set to 'application/json'"),
        (b"[]", "body/ Invalid input: expected object, received array"),
        (b"null", "body/ Invalid input: expected object, received null"),
    ],
)
async def test_what_is_no_object_is_refused(
    client: httpx.AsyncClient, path: str, body: bytes, message: str
) -> None:
    answer = await client.post(path, content=body)

    assert (answer.status_code, answer.json()) == (400, refusal(path, message))


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        (
            CALCULATE,
            {},
            (
                "body/provider Invalid input: expected string, received undefined, "
                "body/model Invalid input: expected string, received undefined"
            ),
        ),
        (
            CALCULATE,
            {"provider": 5, "model": ""},
            (
                "body/provider Invalid input: expected string, received number, "
                "body/model Too small: expected string to have >=1 characters"
            ),
        ),
        (
            CALCULATE,
            {"provider": "o", "model": LONG},
            "body/model Too big: expected string to have <=255 characters",
        ),
        (
            CALCULATE,
            {"provider": "o", "model": "m", "inputTokens": -1},
            "body/inputTokens Too small: expected number to be >=0",
        ),
        (
            CALCULATE,
            {"provider": "o", "model": "m", "inputTokens": 1.5},
            "body/inputTokens Invalid input: expected int, received number",
        ),
        (
            CALCULATE,
            {"provider": "o", "model": "m", "inputTokens": "7"},
            "body/inputTokens Invalid input: expected number, received string",
        ),
        (
            CALCULATE,
            {"provider": "o", "model": "m", "inputTokens": 10**17},
            "body/inputTokens Too big: expected number to be <=9007199254740992",
        ),
        (
            CALCULATE,
            {"provider": "o", "model": "m", "type": "song"},
            'body/type Invalid option: expected one of "text"|"image"|"video"',
        ),
        (
            CALCULATE,
            {"provider": "o", "model": "m", "type": "video", "durationSeconds": 0},
            "body/durationSeconds Too small: expected number to be >0",
        ),
        (BULK, {"calculations": []}, "body/calculations Too small: expected array to have >=1 items"),
        (BULK, {"calculations": "x"}, "body/calculations Invalid input: expected array, received string"),
        (BULK, {"calculations": [{}] * 101}, "body/calculations Too big: expected array to have <=100 items"),
        (BULK, {"calculations": [5]}, "body/calculations/0 Invalid input: expected object, received number"),
        (
            BULK,
            {"calculations": [{"provider": "o", "model": "m", "inputTokens": 1}]},
            "body/calculations/0/outputTokens Invalid input: expected number, received undefined",
        ),
        (
            TABLES,
            {"name": ""},
            (
                "body/name Too small: expected string to have >=1 characters, "
                "body/rules Invalid input: expected object, received undefined"
            ),
        ),
        (
            TABLES,
            {"name": "t", "rules": {"gpt": 5}},
            "body/rules/gpt Invalid input: expected object with the rates of a model",
        ),
        (
            TABLES,
            {"name": "t", "rules": {"gpt": {"inputTokens": 1}}},
            "body/rules/gpt/outputTokens Invalid input: expected number, received undefined",
        ),
        (
            TABLES,
            {"name": "t", "rules": {"gpt": {"inputTokens": 1, "outputTokens": 1, "perUnit": 0}}},
            "body/rules/gpt/perUnit Too small: expected number to be >0",
        ),
        (
            TABLES,
            {"name": "t", "rules": {"gpt": {"inputTokens": 1, "outputTokens": 1, "perUnit": 3}}},
            (
                "body/rules/gpt/inputTokens Invalid input: not a rate of at most 12 decimals for a million, "
                "body/rules/gpt/outputTokens Invalid input: not a rate of at most 12 decimals for a million"
            ),
        ),
        (
            TABLES,
            {
                "name": "t",
                "rules": {},
                "validFrom": "2030-01-02T00:00:00Z",
                "validUntil": "2030-01-01T00:00:00Z",
            },
            "body/validUntil Invalid input: expected a time after validFrom",
        ),
        (TABLES, {"name": "t", "rules": {}, "validFrom": 5}, "body/validFrom Invalid ISO datetime"),
        (
            ENTITLEMENTS,
            {},
            (
                "body/featureId Invalid input: expected string, received undefined, "
                'body/limitType Invalid option: expected one of "HARD"|"SOFT"|"NONE"'
            ),
        ),
        (
            ENTITLEMENTS,
            {"featureId": "f", "limitType": "HARD", "limitValue": -1},
            "body/limitValue Too small: expected number to be >=0",
        ),
        (
            ENTITLEMENTS,
            {"featureId": "f", "limitType": "HARD", "limitValue": "1"},
            "body/limitValue Invalid input: expected number, received string",
        ),
        (
            ENTITLEMENTS,
            {"featureId": "f", "limitType": "HARD", "limitValue": 1e-10},
            "body/limitValue Invalid input: expected at most 9 decimals",
        ),
        (
            ENTITLEMENTS,
            {"featureId": "f", "limitType": "HARD", "limitValue": 1e30},
            "body/limitValue Invalid input: number out of range",
        ),
        (
            ENTITLEMENTS,
            {"featureId": "f", "limitType": "HARD", "period": "YEARLY"},
            'body/period Invalid option: expected one of "DAILY"|"MONTHLY"|"TOTAL"',
        ),
        (
            ENTITLEMENTS,
            {"featureId": "f", "limitType": "HARD", "userId": ""},
            "body/userId Too small: expected string to have >=1 characters",
        ),
        (
            ENTITLEMENTS,
            {"featureId": "f", "limitType": "HARD", "metadata": []},
            "body/metadata Invalid input: expected object, received array",
        ),
        (
            CHECK,
            {"userId": "u", "featureId": "f"},
            (
                "body/action Invalid input: expected object, received undefined, "
                'body/action/type Invalid option: expected one of "token_usage"|"image_generation"|'
                '"video_generation"|"api_call"|"custom"'
            ),
        ),
        (
            CHECK,
            {"userId": "", "featureId": "f", "action": {"type": "custom"}},
            "body/userId Too small: expected string to have >=1 characters",
        ),
        (
            CHECK,
            {"userId": "u", "featureId": "f", "action": {"type": "token_usage", "estimatedInputTokens": -1}},
            "body/action/estimatedInputTokens Too small: expected number to be >=0",
        ),
    ],
)
async def test_every_wrong_field_is_named(
    client: httpx.AsyncClient, path: str, body: dict[str, object], message: str
) -> None:
    answer = await client.post(path, json=body)

    assert (answer.status_code, answer.json()) == (400, refusal(path, message))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/v1/analytics/burn-forecast?days=91", "querystring/days Too big: expected number to be <=90"),
        (
            "/v1/analytics/burn-forecast?days=soon",
            "querystring/days Invalid input: expected number, received NaN",
        ),
        (
            "/v1/analytics/usage-trends?groupBy=year",
            'querystring/groupBy Invalid option: expected one of "day"|"week"|"month"',
        ),
        ("/v1/analytics/cost-breakdown?startDate=soon", "querystring/startDate Invalid ISO datetime"),
    ],
)
async def test_a_wrong_parameter_is_refused_in_the_plain_form(
    client: httpx.AsyncClient, path: str, message: str
) -> None:
    answer = await client.get(path)

    assert (answer.status_code, answer.json()) == (400, {"error": "Bad Request", "message": message})


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", CALCULATE),
        ("PUT", BULK),
        ("POST", "/v1/rating/pricing"),
        ("PUT", TABLES),
        ("POST", "/v1/burn-tables/active"),
        ("GET", CHECK),
        ("GET", "/v1/entitlements/ent_1"),
        ("POST", "/v1/analytics/costs"),
        ("GET", "/v1/apiconsole/generate"),
        ("GET", "/v1/entitlements/quota"),
    ],
)
async def test_a_wrong_method_is_404_as_published(client: httpx.AsyncClient, verb: str, path: str) -> None:
    answer = await client.request(verb, path)

    assert answer.status_code == 404
    assert answer.json() == {
        "message": f"Route {verb}:{path} not found",
        "error": "Not Found",
        "statusCode": 404,
    }


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("POST", CALCULATE),
        ("POST", BULK),
        ("GET", "/v1/rating/pricing"),
        ("GET", TABLES),
        ("POST", TABLES),
        ("GET", "/v1/burn-tables/active"),
        ("GET", "/v1/burn-tables/customer/c/active"),
        ("GET", "/v1/burn-tables/brn_1"),
        ("PATCH", "/v1/burn-tables/brn_1"),
        ("DELETE", "/v1/burn-tables/brn_1"),
        ("POST", CHECK),
        ("GET", ENTITLEMENTS),
        ("POST", ENTITLEMENTS),
        ("PUT", "/v1/entitlements/ent_1"),
        ("DELETE", "/v1/entitlements/ent_1"),
        ("GET", "/v1/customers/c/entitlements"),
        ("GET", "/v1/analytics/costs"),
        ("GET", "/v1/analytics/burn-rate"),
        ("GET", "/v1/analytics/cost-breakdown"),
        ("GET", "/v1/analytics/usage-trends"),
        ("GET", "/v1/analytics/burn-forecast"),
        ("GET", "/v1/analytics/summary"),
        ("GET", "/v1/analytics/summary/c"),
        ("POST", "/v1/apiconsole/generate"),
        ("POST", "/v1/demo/generate"),
        ("GET", "/v1/apiconsole/pricing"),
        ("POST", "/v1/apiconsole/topup"),
    ],
)
async def test_every_route_needs_a_key_before_it_reads_a_body(
    stranger: httpx.AsyncClient, memory: Memory, verb: str, path: str
) -> None:
    absent = await stranger.request(verb, path, content=b"{")
    wrong = await stranger.request(verb, path, content=b"{", headers={"x-api-key": "om_live_wrong"})

    assert absent.status_code == wrong.status_code == 401
    assert wrong.json() == {"error": "Unauthorized", "message": "Invalid or missing API key"}
    assert memory.callers == []
