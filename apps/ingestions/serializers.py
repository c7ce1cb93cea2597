"""Shapes on the wire, for the OpenAPI document and for checking what comes in."""

from rest_framework import serializers

from apps.ingestions.models import ChunkState, MissingParent
from headrace.entities import BY_NAME
from headrace.pipeline.report import Outcome


class OpenUpload(serializers.Serializer):
    on_missing_parent = serializers.ChoiceField(MissingParent.choices, default=MissingParent.PARK)


class OpenedUpload(serializers.Serializer):
    upload_token = serializers.CharField()
    status = serializers.CharField()
    status_url = serializers.CharField()


class AcceptedFile(serializers.Serializer):
    upload_token = serializers.CharField()
    chunk_id = serializers.UUIDField()
    entity = serializers.ChoiceField(sorted(BY_NAME))
    filename = serializers.CharField()
    bytes = serializers.IntegerField()
    sha256 = serializers.CharField()
    status = serializers.ChoiceField(ChunkState.choices)
    status_url = serializers.CharField()


OutcomeCounts = type(
    "OutcomeCounts",
    (serializers.Serializer,),
    {outcome.value: serializers.IntegerField(help_text=outcome.about) for outcome in Outcome},
)


class EntityStatus(serializers.Serializer):
    files = serializers.IntegerField()
    lines_received = serializers.IntegerField()
    outcomes = OutcomeCounts()


class ChunkStatus(serializers.Serializer):
    chunk_id = serializers.UUIDField()
    filename = serializers.CharField()
    entity = serializers.ChoiceField(sorted(BY_NAME))
    status = serializers.ChoiceField(ChunkState.choices)
    code = serializers.CharField(allow_null=True)
    message = serializers.CharField(allow_null=True)
    bytes = serializers.IntegerField()
    lines_received = serializers.IntegerField()
    outcomes = OutcomeCounts()


class FileCounts(serializers.Serializer):
    received = serializers.IntegerField()
    finished = serializers.IntegerField()
    failed = serializers.IntegerField()


class UploadStatus(serializers.Serializer):
    upload_token = serializers.CharField()
    status = serializers.ChoiceField(
        ["open", "processing", "completed", "completed_with_rejects", "failed"]
    )
    finished = serializers.BooleanField(help_text="nothing is queued or running for it")
    files = FileCounts()
    bytes_received = serializers.IntegerField()
    lines_received = serializers.IntegerField()
    outcomes = OutcomeCounts()
    entities = serializers.DictField(child=EntityStatus())
    lines_per_second = serializers.FloatField(allow_null=True)
    eta_seconds = serializers.FloatField(allow_null=True)
    reject_codes = serializers.DictField(child=serializers.IntegerField())
    unknown_keys = serializers.DictField(child=serializers.IntegerField())
    chunks = ChunkStatus(many=True)


class ListedUpload(OpenedUpload):
    created_at = serializers.DateTimeField()


UploadPage = type(
    "UploadPage",
    (serializers.Serializer,),
    {"data": ListedUpload(many=True), "next_cursor": serializers.CharField(allow_null=True)},
)


class RejectedFault(serializers.Serializer):
    code = serializers.CharField()
    field = serializers.CharField()
    value = serializers.CharField()
    message = serializers.CharField()


class RejectedLine(serializers.Serializer):
    line = serializers.IntegerField(help_text="physical line of the file, from 1")
    offset = serializers.IntegerField(help_text="byte of the unpacked file, from 0")
    stage = serializers.CharField()
    code = serializers.CharField()
    field = serializers.CharField()
    value = serializers.CharField()
    message = serializers.CharField()
    more = RejectedFault(many=True, required=False, help_text="the line's other faults")
    raw = serializers.CharField(allow_null=True)
    chunk_id = serializers.UUIDField()
    filename = serializers.CharField()


class ProblemBody(serializers.Serializer):
    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    code = serializers.CharField()
