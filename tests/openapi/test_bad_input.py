"""Every operation with everything that can be wrong about a request, made from the document.

Each is refused with one clear error, and a refused write leaves every table as it was.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from om_server.core.ids import new_key
from om_server.rpc.caller import Scope
from om_server.schema import MODELS
from tests.openapi.operation import DOCUMENT, VERBS, Operation, Sample, operations, resolved
from tests.openapi.refusal import check_refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.openapi.site import Site

_OPERATIONS = list(operations())
_EACH = pytest.mark.parametrize("operation", _OPERATIONS, ids=lambda operation: operation.label)
_GUARDED = [operation for operation in _OPERATIONS if not operation.anonymous]

_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
#: When a key was last used is noted of refused requests too.
_COUNTED = [model for model in MODELS if model._meta.table_name != "key_uses"]
_JSON = {"content-type": "application/json"}


#: One is gone as published, and this installation names no OpenID Connect provider.
_NEVER_ACCEPTED = {"signInWithGoogle", "OidcService_StartOidcSignIn"}
#: Fields that are read for some types of request alone; the others pass them over, as published.
_UNREAD = {
    "calculateCost": {"durationSeconds", "imageCount", "imageSize", "quality", "quantity", "resolution"},
    "generateDemo": {"size", "quality", "count", "duration"},
    "generateInSandbox": {"size", "quality", "count", "duration"},
}


@dataclass(frozen=True, slots=True)
class Wrong:
    """A request that is wrong in one way: what is wrong, and the field that the refusal has to name."""

    what: str
    field: str = ""
    query: tuple[tuple[str, str], ...] = ()
    content: bytes | None = None
    media_type: str = "application/json"
    status: int = 400


@pytest.fixture(scope="module")
def web(site: Site) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.rest, timeout=20) as client:
        yield client


@_EACH
def test_whatever_is_wrong_is_refused_and_changes_nothing(
    site: Site, web: httpx.Client, operation: Operation
) -> None:
    sample = operation.sample(site.ours)
    headers = {"authorization": f"Bearer {operation.secret(site.ours)}"}
    before = _row_counts(site)

    for wrong in _wrongs(operation, sample):
        answer = web.request(
            operation.verb,
            sample.path,
            params=httpx.QueryParams([*sample.query, *wrong.query]),
            content=wrong.content if wrong.content is not None else _written(sample.body),
            headers=headers | {"content-type": wrong.media_type},
        )
        assert answer.status_code == wrong.status, (wrong.what, answer.text)
        _check(answer)
        assert _names(answer, wrong.field), (wrong.what, answer.text)

    assert _row_counts(site) == before
    with web.stream(
        operation.verb,
        sample.path,
        params=httpx.QueryParams(sample.query),
        content=_written(sample.body),
        headers=headers | _JSON,
    ) as right:
        if not operation.endless:
            right.read()
        # Otherwise something else was refused than what was meant to be wrong.
        assert right.is_success or operation.name in _NEVER_ACCEPTED, right


@pytest.mark.parametrize("operation", _GUARDED, ids=lambda operation: operation.label)
def test_a_credential_that_is_worth_nothing_is_told_before_anything_else(
    site: Site, web: httpx.Client, operation: Operation
) -> None:
    sample, worthless = operation.sample(site.ours), list(_worthless(site))
    before = _row_counts(site)

    for secret, reason in worthless:
        headers = {"authorization": f"Bearer {secret}"} if secret else {}
        for content in (_written(sample.body), b"{"):
            answer = web.request(operation.verb, sample.path, content=content, headers=headers | _JSON)
            assert answer.status_code == 401, (secret, answer.text)
            assert answer.headers["www-authenticate"] == "Bearer"
            _check(answer)
            if operation.transcoded:
                assert answer.json()["error"]["reason"] == reason

    assert _row_counts(site) == before


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_a_wrong_method_is_a_path_that_does_not_exist(site: Site, web: httpx.Client, path: str) -> None:
    headers = {"authorization": f"Bearer {site.ours.key(Scope.ADMIN).secret}"}
    for verb in VERBS:
        if any(operation.takes(verb, path) for operation in _OPERATIONS):
            continue
        answer = web.request(verb, path, headers=headers)
        assert answer.status_code == 404, verb
        _check(answer)
        if not path.startswith("/api/v1/"):
            assert answer.json()["message"].startswith(f"Route {verb.upper()}:")


@pytest.mark.parametrize(
    "operation",
    [operation for operation in _GUARDED if operation.path_parameters],
    ids=lambda operation: operation.label,
)
def test_what_is_another_s_answers_like_what_does_not_exist(
    site: Site, web: httpx.Client, operation: Operation
) -> None:
    headers = {"authorization": f"Bearer {operation.secret(site.ours)}"} | _JSON
    answers = []
    for whose in ("theirs", "nobody"):
        sample = operation.sample(site.ours)
        path, ids = operation.path, []
        for name in operation.path_parameters:
            theirs = str(operation.identity(site.theirs, name))
            ids.append(theirs if whose == "theirs" else _nobody(theirs))
            path = path.replace(f"{{{name}}}", ids[-1])
        before = _row_counts(site)
        answer = web.request(
            operation.verb,
            path,
            params=httpx.QueryParams(sample.query),
            content=_written(sample.body),
            headers=headers,
        )
        if not answer.is_success:
            assert _row_counts(site) == before
        answers.append((answer.status_code, _without(answer, ids)))

    assert answers[0] == answers[1]


def _wrongs(operation: Operation, sample: Sample) -> Iterator[Wrong]:
    if operation.transcoded:
        yield Wrong("unknown parameter", "color", query=(("color", "blue"),))
    taken = {name for name, _ in sample.query}
    for name, schema in operation.query:
        if name not in taken and (text := _wrong_text(schema)):
            yield Wrong(f"parameter {name}", name, query=((name, text),))
    if operation.body is not None:
        yield from _wrong_bodies(operation, sample.body or {})


def _wrong_bodies(operation: Operation, body: Mapping[str, Any]) -> Iterator[Wrong]:
    schema = operation.body
    assert schema is not None
    yield Wrong("not JSON", content=b'{"a":')
    yield Wrong("not text", content=b'{"a": "\xff"}')
    yield Wrong("a list", content=b"[]")
    if body:
        yield Wrong("another type", content=_written(body), media_type="text/plain", status=415)
    if schema["required"]:
        yield Wrong("empty", content=b"")
    if operation.transcoded:
        yield Wrong("unknown field", "notAField", content=_written({**body, "notAField": 1}))
    for name in schema["required"]:
        if name in body:
            yield Wrong(
                f"{name} missing", name, content=_written({k: v for k, v in body.items() if k != name})
            )
    for name, item in schema["properties"].items():
        if name in _UNREAD.get(operation.name, ()):
            continue
        for what, value in _wrong_values(item):
            yield Wrong(f"{name} {what}", name, content=_written({**body, name: value}))


def _wrong_values(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Values that a property may not have."""
    schema = resolved(schema)
    parts = schema.get("allOf", [])
    kind = schema.get("type") or (resolved(parts[0]).get("type") if parts else None)
    if kind == "object":
        yield "of a wrong type", "text"
    elif kind is not None:
        yield "of a wrong type", {"an": "object"}
    if "maxLength" in schema:
        yield "too long", "x" * (schema["maxLength"] + 1)


def _wrong_text(schema: Mapping[str, Any]) -> str:
    """A text that a parameter may not have; empty where every text will do."""
    items = resolved(schema.get("items", schema))
    if items.get("type") in {"integer", "number", "boolean"} or "enum" in items:
        return "nonsense"
    return "x" * (items["maxLength"] + 1) if "maxLength" in items else ""


def _worthless(site: Site) -> Iterator[tuple[str, str]]:
    """Credentials that nobody may come in with, and the reason that is told."""
    invalid = "CREDENTIAL_INVALID"
    yield "", "CREDENTIAL_MISSING"
    yield new_key("om_live_", secrets.token_bytes(32)), invalid
    yield site.ours.ended_key(*Scope).secret, invalid
    yield site.revoked_key, invalid
    yield site.ended_session, invalid


def _row_counts(site: Site) -> dict[str, int]:
    return site.database.read(lambda: {model._meta.table_name: model.select().count() for model in _COUNTED})


def _written(body: Mapping[str, Any] | None) -> bytes:
    return b"" if body is None else json.dumps(body).encode()


def _check(answer: httpx.Response) -> None:
    path = answer.request.url.path
    check_refusal(path, answer.status_code, body=answer.json(), headers=answer.headers)


def _names(answer: httpx.Response, field: str) -> bool:
    if not field:
        return True
    body = answer.json()
    if not isinstance(body["error"], dict):
        return field in body["message"]
    return any(problem["field"].startswith(field) for problem in body["error"]["fields"])


def _nobody(theirs: str) -> str:
    """An id of the same form that nobody has."""
    return theirs[:-1] + ("z" if theirs[-1] != "z" else "y") if "_" in theirs else f"{theirs}-nobody"


def _without(answer: httpx.Response, ids: list[str]) -> str:
    """The text of an answer without what has to differ: ids, and the time at which something was made."""
    text = answer.text.replace(answer.headers["x-request-id"], "REQUEST")
    for name in ids:
        text = text.replace(name, "ID")
    return _TIME.sub("TIME", text)
