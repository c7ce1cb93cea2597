"""Shapes on the wire, for the OpenAPI document."""

from rest_framework import serializers

from apps.exports.bundles import BUNDLES, withheld
from apps.exports.models import COMPRESSIONS, FORMATS, TAR, ExportState
from apps.exports.takeouts import USUAL_FORMAT
from headrace.entities import BY_NAME

#: What an export that is told of may be: takeouts have bundles beside record types.
ENTITIES, FILES = sorted({*BY_NAME, *BUNDLES}), (*FORMATS, TAR)
WITHHELD = withheld(())


class ExportRequest(serializers.Serializer):
    entity = serializers.ChoiceField(sorted(BY_NAME), required=False, help_text="usually orders")
    format = serializers.ChoiceField(FORMATS, required=False, help_text="usually csv")
    columns = serializers.ListField(
        child=serializers.CharField(),
        required=False,
        allow_null=True,
        help_text="all that a record has without it",
    )
    filters = serializers.DictField(
        required=False,
        allow_null=True,
        help_text="column → value, list of values, null, or an object with `from`, `before`"
        " and, for texts, `contains`",
    )
    compression = serializers.ChoiceField(COMPRESSIONS, required=False)
    spreadsheet_safe = serializers.BooleanField(
        required=False,
        help_text="csv: an apostrophe before a text that a spreadsheet would evaluate",
    )


class OrderedExport(serializers.Serializer):
    export_id = serializers.UUIDField()
    entity = serializers.ChoiceField(ENTITIES)
    format = serializers.ChoiceField(FILES)
    compression = serializers.ChoiceField(COMPRESSIONS)
    status = serializers.ChoiceField(ExportState.choices)
    status_url = serializers.CharField()


class ExportPart(serializers.Serializer):
    rows = serializers.IntegerField()
    bytes = serializers.IntegerField()
    sha256 = serializers.CharField()


class ExportFacts(OrderedExport):
    spreadsheet_safe = serializers.BooleanField()
    columns = serializers.ListField(child=serializers.CharField())
    filters = serializers.DictField()
    code = serializers.CharField(allow_null=True)
    message = serializers.CharField(allow_null=True)
    rows = serializers.IntegerField(help_text="written so far")
    rows_expected = serializers.IntegerField(allow_null=True, help_text="what the snapshot has")
    bytes = serializers.IntegerField()
    rows_per_second = serializers.IntegerField(allow_null=True)
    eta_seconds = serializers.FloatField(allow_null=True)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    filename = serializers.CharField()
    sha256 = serializers.CharField(allow_null=True, help_text="of the whole download")
    parts = ExportPart(many=True)
    download_url = serializers.CharField(allow_null=True)


class ExportPage(serializers.Serializer):
    data = ExportFacts(many=True)  # type: ignore[assignment]
    next_cursor = serializers.CharField(allow_null=True)


class TakeoutRequest(serializers.Serializer):
    format = serializers.ChoiceField(FORMATS, default=USUAL_FORMAT)
    compression = serializers.ChoiceField(COMPRESSIONS, default="none")


class TakeoutFile(serializers.Serializer):
    export_id = serializers.UUIDField()
    entity = serializers.ChoiceField(ENTITIES)
    resendable = serializers.BooleanField(help_text="whether it may be sent back as it is")
    filename = serializers.CharField()
    status = serializers.ChoiceField(ExportState.choices)
    code = serializers.CharField(allow_null=True)
    message = serializers.CharField(allow_null=True)
    rows = serializers.IntegerField()
    bytes = serializers.IntegerField()
    sha256 = serializers.CharField(allow_null=True)
    download_url = serializers.CharField(allow_null=True)


class TakeoutManifest(serializers.Serializer):
    takeout_id = serializers.UUIDField()
    tenant_id = serializers.UUIDField()
    format = serializers.ChoiceField(FORMATS)
    compression = serializers.ChoiceField(COMPRESSIONS)
    status = serializers.ChoiceField(ExportState.choices)
    created_at = serializers.DateTimeField()
    rows = serializers.IntegerField()
    bytes = serializers.IntegerField()
    withheld = serializers.ListField(
        child=serializers.ChoiceField(WITHHELD),
        help_text="what it is without, since the key that ordered it had not the scope",
    )
    files = TakeoutFile(many=True)
