"""Shapes on the wire, for the OpenAPI document and for checking what comes in."""

from rest_framework import serializers

from apps.ingestions.models import ChunkState, ErrorPolicy
from apps.tenants.models import MissingParent
from headrace.entities import BY_NAME
from headrace.pipeline.formats import FORMATS
from headrace.pipeline.report import Outcome


class Limits(serializers.Serializer):
    max_errors = serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=0,
        max_value=2**62,
        help_text="most rejected lines of one file; with more it fails",
    )
    max_error_rate = serializers.FloatField(
        required=False,
        allow_null=True,
        min_value=0,
        max_value=1,
        help_text="the same as a share of the file's lines",
    )


class OpenUpload(Limits):
    on_missing_parent = serializers.ChoiceField(
        MissingParent.choices, required=False, help_text="without it the tenant's own choice"
    )
    error_policy = serializers.ChoiceField(
        ErrorPolicy.choices,
        default=ErrorPolicy.REJECT_FAILED,
        help_text="reject_all: each file lands in one transaction, or not at all",
    )


class OpenedUpload(serializers.Serializer):
    upload_token = serializers.CharField()
    status = serializers.CharField()
    status_url = serializers.CharField()


class AcceptedFile(serializers.Serializer):
    upload_token = serializers.CharField()
    chunk_id = serializers.UUIDField()
    entity = serializers.ChoiceField(sorted(BY_NAME))
    filename = serializers.CharField()
    format = serializers.ChoiceField(FORMATS)
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
    format = serializers.ChoiceField(FORMATS)
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


class RejectSample(serializers.Serializer):
    chunk_id = serializers.UUIDField()
    line = serializers.IntegerField(help_text="physical line of the file, from 1")
    value = serializers.CharField()
    message = serializers.CharField()


class RejectGroup(serializers.Serializer):
    code = serializers.CharField()
    field = serializers.CharField()
    lines = serializers.IntegerField()
    sample = RejectSample()


class UploadStatus(serializers.Serializer):
    upload_token = serializers.CharField()
    status = serializers.ChoiceField(
        [
            *("open", "expired", "processing", "cancelled"),
            *("completed", "completed_with_rejects", "failed"),
        ]
    )
    accepts_files = serializers.BooleanField(help_text="not complete, cancelled or expired")
    finished = serializers.BooleanField(help_text="nothing is queued or running for it")
    files = FileCounts()
    bytes_received = serializers.IntegerField()
    lines_received = serializers.IntegerField()
    outcomes = OutcomeCounts()
    entities = serializers.DictField(child=EntityStatus())
    lines_per_second = serializers.FloatField(allow_null=True)
    eta_seconds = serializers.FloatField(allow_null=True)
    reject_codes = serializers.DictField(
        child=serializers.IntegerField(), help_text="rejected lines by the code of the first fault"
    )
    reject_groups = RejectGroup(many=True, help_text="by code and field, the largest first")
    unknown_keys = serializers.DictField(child=serializers.IntegerField())
    level_mismatches = serializers.IntegerField(
        help_text="movements that landed and claim another resulting_level than ours"
    )
    chunks = ChunkStatus(many=True)


class ResumedUpload(UploadStatus):
    resumed = serializers.IntegerField(help_text="files that were queued again")


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
    raw = serializers.CharField(allow_null=True, help_text="null: the file is not kept any more")
    chunk_id = serializers.UUIDField()
    filename = serializers.CharField()
