"""PromptService over a real socket."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import struct_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from om.prompt.v1 import prompt_service_pb2 as pb
from om.prompt.v1.prompt_service_pb2_grpc import PromptServiceStub
from om_server.prompt.servicer import PromptServicer
from om_server.rpc.caller import Scope
from tests.rpc import Keyring, bearer, failing, key_caller, made, serving
from tests.server.prompt.desk import KEY, ORG, OTHER_ORG, SECOND, START, Desk

ADMIN, OTHER, READER = bearer("admin"), bearer("other"), bearer("reader")
NOW = Timestamp(seconds=START // SECOND)


@pytest.fixture
def stub(desk: Desk) -> Iterator[PromptServiceStub]:
    keyring = Keyring(
        {
            "admin": key_caller(organization_id=ORG),
            "other": key_caller(organization_id=OTHER_ORG),
            "reader": key_caller(Scope.READ, organization_id=ORG),
        }
    )
    with serving([made(PromptServicer, desk.prompts)], keyring) as channel:
        yield PromptServiceStub(channel)


def add(stub: PromptServiceStub, key: str = "k", **fields: object) -> pb.Version:
    version = pb.Version(**fields)  # type: ignore[arg-type] # A table's row.
    request = pb.CreateVersionRequest(prompt_key=KEY, version=version, idempotency_key=key)
    return stub.CreateVersion(request, metadata=ADMIN).version


def get(stub: PromptServiceStub) -> pb.Prompt:
    return stub.GetPrompt(pb.GetPromptRequest(prompt_key=KEY), metadata=READER).prompt


@pytest.mark.acceptance("B-203")
def test_a_prompt_is_registered_and_described(stub: PromptServiceStub) -> None:
    wanted = pb.Prompt(prompt_key=KEY, description="Shortens contracts", active_version=7, auto_created=True)

    made_prompt = stub.CreatePrompt(pb.CreatePromptRequest(prompt=wanted), metadata=ADMIN).prompt

    assert made_prompt == pb.Prompt(prompt_key=KEY, description="Shortens contracts", create_time=NOW)
    changed = stub.UpdatePrompt(pb.UpdatePromptRequest(prompt_key=KEY, description="new"), metadata=ADMIN)
    assert changed.prompt.description == "new"
    assert get(stub) == changed.prompt
    assert list(stub.ListPrompts(pb.ListPromptsRequest(), metadata=READER).prompts) == [changed.prompt]


@pytest.mark.acceptance("B-204", "B-205")
def test_a_version_is_added_as_the_form_says_and_may_be_active_at_once(stub: PromptServiceStub) -> None:
    metadata = struct_pb2.Struct()
    metadata.update({"ticket": 42, "owner": ["docs"]})

    first = add(stub, "one", model="gpt-4o", temperature=0.0, max_tokens=500, metadata=metadata, version=9)
    second = add(stub, "two", active=True)

    assert first == pb.Version(
        version=1, model="gpt-4o", temperature=0.0, max_tokens=500, metadata=metadata, create_time=NOW
    )
    assert first.HasField("temperature")
    assert (second.version, second.active, second.HasField("temperature"), second.HasField("max_tokens")) == (
        2,
        True,
        False,
        False,
    )
    listed = stub.ListVersions(pb.ListVersionsRequest(prompt_key=KEY), metadata=READER).versions
    assert list(listed) == [second, first]
    assert (get(stub).active_version, get(stub).version_count) == (2, 2)


@pytest.mark.acceptance("B-206")
def test_activating_one_deactivates_the_other_and_none_may_be_active(stub: PromptServiceStub) -> None:
    add(stub, "one", active=True)
    add(stub, "two")

    changed = stub.ActivateVersion(pb.ActivateVersionRequest(prompt_key=KEY, version=2), metadata=ADMIN)

    listed = stub.ListVersions(pb.ListVersionsRequest(prompt_key=KEY), metadata=READER).versions
    assert changed.prompt.active_version == 2
    assert [(one.version, one.active) for one in listed] == [(2, True), (1, False)]
    none = stub.ActivateVersion(pb.ActivateVersionRequest(prompt_key=KEY), metadata=ADMIN).prompt
    assert not none.HasField("active_version")


def test_a_repeat_is_answered_from_the_first_and_another_payload_is_refused(stub: PromptServiceStub) -> None:
    first = add(stub, model="gpt-4o", active=True)
    add(stub, "other key", active=True)

    assert add(stub, model="gpt-4o", active=True) == first
    with failing() as failures:
        add(stub, model="gpt-4o-mini", active=True)
    assert (failures[0].code, failures[0].reason) == (
        grpc.StatusCode.ALREADY_EXISTS,
        "IDEMPOTENCY_KEY_REUSED",
    )


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"temperature": float("nan")}, "version.temperature"),
        ({"temperature": -0.1}, "version.temperature"),
        ({"temperature": 10.5}, "version.temperature"),
        ({"max_tokens": 0}, "version.max_tokens"),
        ({"model": "m" * 256}, "version.model"),
    ],
)
def test_figures_that_no_provider_takes_are_refused(
    stub: PromptServiceStub, fields: dict[str, Any], field: str
) -> None:
    with failing() as failures:
        add(stub, **fields)

    assert failures[0].code is grpc.StatusCode.INVALID_ARGUMENT
    assert field in failures[0].violations


def test_content_in_metadata_is_refused_and_told_nowhere(stub: PromptServiceStub) -> None:
    metadata = struct_pb2.Struct()
    metadata.update({"notes": {"messages": ["You are a pirate."]}})

    with failing() as failures:
        add(stub, metadata=metadata)

    assert failures[0].reason == "INVALID_ARGUMENT"
    assert set(failures[0].violations) == {"version.metadata.notes.messages"}
    assert "pirate" not in str(failures[0])


def test_a_key_that_is_taken_is_refused(stub: PromptServiceStub) -> None:
    request = pb.CreatePromptRequest(prompt=pb.Prompt(prompt_key=KEY))
    stub.CreatePrompt(request, metadata=ADMIN)

    with failing() as failures:
        stub.CreatePrompt(request, metadata=ADMIN)

    assert (failures[0].code, failures[0].reason) == (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS")


def test_another_organization_sees_nothing_of_it(stub: PromptServiceStub) -> None:
    add(stub, active=True)

    assert not stub.ListPrompts(pb.ListPromptsRequest(), metadata=OTHER).prompts
    with failing() as failures:
        stub.GetPrompt(pb.GetPromptRequest(prompt_key=KEY), metadata=OTHER)
    with failing() as strangers:
        stub.GetPrompt(pb.GetPromptRequest(prompt_key="nobody's"), metadata=OTHER)
    assert (failures[0].code, failures[0].reason) == (strangers[0].code, strangers[0].reason)
    assert failures[0].code is grpc.StatusCode.NOT_FOUND


def test_a_key_that_may_only_read_changes_nothing(stub: PromptServiceStub) -> None:
    with failing() as failures:
        stub.CreatePrompt(pb.CreatePromptRequest(prompt=pb.Prompt(prompt_key=KEY)), metadata=READER)

    assert failures[0].reason == "SCOPE_MISSING"


def test_who_made_a_version_is_in_the_audit_log(stub: PromptServiceStub, desk: Desk) -> None:
    add(stub, model="gpt-4o")

    assert {(record.actor, record.action) for record in desk.records()} == {
        ("key_test", "CreatePrompt"),
        ("key_test", "CreateVersion"),
    }
