"""Prompts from the call to the comparison: by use, activated, and told apart by version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.e2e.tenant import Tenant, awaited, nanos

if TYPE_CHECKING:
    from tests.e2e.installation import Installation

KEY = "document-summarizer"
_PATH = f"/api/v1/prompts/{KEY}"


def call(installation: Installation, tenant: Tenant, *, by_path: bool, version: int | None = None) -> None:
    """Call a model for the prompt, in one dialect or the other."""
    body: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello!"}]}
    if by_path:
        told = {"prompt_key": KEY} | ({} if version is None else {"version": version})
        headers = {"Authorization": f"Bearer {tenant.key}", "X-Provider-Key": "sk-any"}
        url, body = "/api/proxy/v1/openai/chat/completions", {**body, "_aipromptcost": told}
    else:
        said = {} if version is None else {"X-OM-Prompt-Version": str(version)}
        headers = {**tenant.billing(), "Authorization": "Bearer sk-any", "X-OM-Prompt-Key": KEY, **said}
        url = "/v1/chat/completions"
    answer = httpx.post(f"{installation.addresses.proxy}{url}", headers=headers, json=body, timeout=20)
    assert answer.status_code == 200, answer.text


def test_a_key_with_a_slash_is_reached_by_its_encoded_form(installation: Installation) -> None:
    tenant = installation.tenant()
    tenant.post("/api/v1/prompts", {"prompt": {"promptKey": "mail/summary v2"}})

    path = "/api/v1/prompts/mail%2Fsummary%20v2"
    assert tenant.get(path)["prompt"]["promptKey"] == "mail/summary v2"
    tenant.post(f"{path}/versions", {"version": {"model": "gpt-4o"}, "idempotencyKey": "v1"})
    assert tenant.post(f"{path}/activate", {"version": 1})["prompt"]["activeVersion"] == 1
    assert [row["version"] for row in tenant.get(f"{path}/versions")["versions"]] == [1]
    # A slash that is not encoded is a step in the path, and there is nothing.
    assert tenant.get("/api/v1/prompts/mail/summary%20v2", expect=404)


def comparison(tenant: Tenant) -> dict[int | None, tuple[bool, int, int, int | None]]:
    """By version: whether it is registered, events, cost, and cost through events where there are any."""
    return {
        row.get("version"): (
            row["registered"],
            int(row["eventCount"]),
            nanos(row, "cost"),
            nanos(row, "averageCost") if "averageCost" in row else None,
        )
        for row in tenant.get(f"{_PATH}/comparison")["rows"]
    }


@pytest.mark.acceptance("B-155", "B-156", "B-158", "B-202", "B-204", "B-209")
@pytest.mark.parametrize("by_path", [True, False])
def test_a_prompt_is_made_by_its_first_call_and_its_versions_are_told_apart(
    installation: Installation, *, by_path: bool
) -> None:
    tenant = installation.tenant("10000")
    assert tenant.get(_PATH, expect=404)

    call(installation, tenant, by_path=by_path)
    tenant.events(1)
    prompt = tenant.get(_PATH)["prompt"]
    assert (prompt["promptKey"], prompt["autoCreated"], "activeVersion" in prompt) == (KEY, True, False)

    for number in (1, 2):
        added = tenant.post(
            f"{_PATH}/versions",
            {"version": {"model": "gpt-4o", "active": True}, "idempotencyKey": f"version-{number}"},
        )
        assert (added["version"]["version"], added["version"]["active"]) == (number, True)
    call(installation, tenant, by_path=by_path)
    call(installation, tenant, by_path=by_path, version=7)
    events = tenant.events(3)

    versions = [event["event"]["attribution"].get("promptVersion") for event in events]
    assert sorted(versions, key=str) == [2, 7, None]
    costs = {version: nanos(event, "cost") for version, event in zip(versions, events, strict=True)}
    assert all(costs.values())
    assert comparison(tenant) == {
        1: (True, 0, 0, None),
        2: (True, 1, costs[2], costs[2]),
        7: (False, 1, costs[7], costs[7]),
        None: (False, 1, costs[None], costs[None]),
    }


@pytest.mark.acceptance("B-201", "B-206", "B-207")
def test_the_list_shows_what_is_active_and_what_each_prompt_cost(installation: Installation) -> None:
    tenant = installation.tenant("10000")
    for number in (1, 2):
        wanted = {"version": {"active": True}, "idempotencyKey": f"version-{number}"}
        tenant.post(f"{_PATH}/versions", wanted)
    call(installation, tenant, by_path=True)
    changed = tenant.post(f"{_PATH}/activate", {"version": 1})
    call(installation, tenant, by_path=True)
    total = sum(nanos(event, "cost") for event in tenant.events(2))

    assert changed["prompt"]["activeVersion"] == 1
    (listed,) = tenant.get("/api/v1/prompts")["prompts"]
    assert (listed["promptKey"], listed["activeVersion"], listed["versionCount"]) == (KEY, 1, 2)
    versions = tenant.get(f"{_PATH}/versions")["versions"]
    assert [(version["version"], version["active"]) for version in versions] == [(2, False), (1, True)]

    def spent() -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = tenant.get("/api/v1/spend?groupBy=DIMENSION_PROMPT")["rows"]
        return rows

    (row,) = awaited(spent)
    assert row["group"][0]["value"] == KEY
    assert (int(row["eventCount"]), nanos(row, "cost")) == (2, total)
    assert [events for _, events, *_ in comparison(tenant).values()] == [1, 1]
