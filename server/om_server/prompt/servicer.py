"""PromptService on the wire."""

import grpc

from om.prompt.v1 import prompt_service_pb2 as pb
from om.prompt.v1 import prompt_service_pb2_grpc
from om_server.prompt.operations import PromptOperations
from om_server.prompt.version import Configuration, Prompt, Version, VersionRequest
from om_server.rpc.caller import caller
from om_server.rpc.convert import page_from_proto, timestamp_to_proto
from om_server.rpc.convert_struct import struct_from_proto, struct_to_proto


class PromptServicer(prompt_service_pb2_grpc.PromptServiceServicer):
    """Translates between messages and the operations of prompts."""

    def __init__(self, operations: PromptOperations) -> None:
        self._operations = operations

    def CreatePrompt(
        self, request: pb.CreatePromptRequest, context: grpc.ServicerContext
    ) -> pb.CreatePromptResponse:
        prompt = self._operations.create_prompt(
            caller().organization_id, request.prompt.prompt_key, description=request.prompt.description
        )
        return pb.CreatePromptResponse(prompt=prompt_to_proto(prompt))

    def GetPrompt(self, request: pb.GetPromptRequest, context: grpc.ServicerContext) -> pb.GetPromptResponse:
        prompt = self._operations.get_prompt(caller().organization_id, request.prompt_key)
        return pb.GetPromptResponse(prompt=prompt_to_proto(prompt))

    def ListPrompts(
        self, request: pb.ListPromptsRequest, context: grpc.ServicerContext
    ) -> pb.ListPromptsResponse:
        page = self._operations.list_prompts(caller().organization_id, page_from_proto(request))
        return pb.ListPromptsResponse(
            prompts=map(prompt_to_proto, page.prompts), next_page_token=page.next_page_token
        )

    def UpdatePrompt(
        self, request: pb.UpdatePromptRequest, context: grpc.ServicerContext
    ) -> pb.UpdatePromptResponse:
        prompt = self._operations.update_prompt(
            caller().organization_id, request.prompt_key, description=request.description
        )
        return pb.UpdatePromptResponse(prompt=prompt_to_proto(prompt))

    def CreateVersion(
        self, request: pb.CreateVersionRequest, context: grpc.ServicerContext
    ) -> pb.CreateVersionResponse:
        wanted = version_request_from_proto(request)
        version = self._operations.create_version(caller().organization_id, wanted)
        return pb.CreateVersionResponse(version=version_to_proto(version))

    def ListVersions(
        self, request: pb.ListVersionsRequest, context: grpc.ServicerContext
    ) -> pb.ListVersionsResponse:
        page = self._operations.list_versions(
            caller().organization_id, request.prompt_key, page_from_proto(request)
        )
        return pb.ListVersionsResponse(
            versions=map(version_to_proto, page.versions), next_page_token=page.next_page_token
        )

    def ActivateVersion(
        self, request: pb.ActivateVersionRequest, context: grpc.ServicerContext
    ) -> pb.ActivateVersionResponse:
        version = request.version if request.HasField("version") else None
        prompt = self._operations.activate_version(caller().organization_id, request.prompt_key, version)
        return pb.ActivateVersionResponse(prompt=prompt_to_proto(prompt))


def version_request_from_proto(request: pb.CreateVersionRequest) -> VersionRequest:
    """Translate a wish for a version. Its number and time are the server's, whatever is said of them."""
    message = request.version
    configuration = Configuration(
        model=message.model,
        temperature=message.temperature if message.HasField("temperature") else None,
        max_tokens=message.max_tokens if message.HasField("max_tokens") else None,
        metadata_json=struct_from_proto(message.metadata, "version.metadata"),
    )
    return VersionRequest(request.prompt_key, configuration, request.idempotency_key, message.active)


def prompt_to_proto(prompt: Prompt) -> pb.Prompt:
    return pb.Prompt(
        prompt_key=prompt.prompt_key,
        description=prompt.description,
        active_version=prompt.active_version,
        version_count=prompt.version_count,
        auto_created=prompt.auto_created,
        create_time=timestamp_to_proto(prompt.create_time),
    )


def version_to_proto(version: Version) -> pb.Version:
    configuration = version.configuration
    return pb.Version(
        version=version.version,
        model=configuration.model,
        temperature=configuration.temperature,
        max_tokens=configuration.max_tokens,
        metadata=struct_to_proto(configuration.metadata_json),
        active=version.active,
        create_time=timestamp_to_proto(version.create_time),
    )
