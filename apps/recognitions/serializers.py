"""Shapes on the wire, for the OpenAPI document."""

from rest_framework import serializers

from apps.recognitions.asking import MOST_NUMBER
from headrace.recognitions.photos import MEDIA_TYPES
from headrace.recognitions.schema import Kind, Role

ROLES, KINDS = tuple(map(str, Role)), tuple(map(str, Kind))


class RecognitionPhoto(serializers.Serializer):
    role = serializers.ChoiceField(ROLES)
    width = serializers.IntegerField(help_text="pixels")
    height = serializers.IntegerField(help_text="pixels")
    sha256 = serializers.CharField()
    bytes = serializers.IntegerField()
    media_type = serializers.ChoiceField(tuple(MEDIA_TYPES.values()))
    url = serializers.CharField(help_text="shows it without a key, until url_expires_at")
    url_expires_at = serializers.DateTimeField()


class RecognitionDish(serializers.Serializer):
    external_id = serializers.CharField(help_text="the canteen's own id of the dish")
    name = serializers.CharField()


class RecognitionCheckLine(RecognitionDish):
    line = serializers.IntegerField(help_text="of the check, from 0")
    choice = serializers.IntegerField(
        help_text="from 0; a line with several dishes says that it is one of them"
    )
    quantity = serializers.IntegerField()


class RecognitionBox(serializers.Serializer):
    x_min = serializers.IntegerField(help_text="pixels, from the left edge of the photo")
    y_min = serializers.IntegerField(help_text="pixels, from the upper edge")
    x_max = serializers.IntegerField()
    y_max = serializers.IntegerField()


class RecognitionDetection(serializers.Serializer):
    type = serializers.ChoiceField(KINDS, help_text="what the model sees")
    role = serializers.ChoiceField(ROLES, help_text="of the photo that the box is in")
    label = serializers.CharField(help_text="the model's own name for it")  # type: ignore[assignment]
    box = RecognitionBox()


class RecognitionRow(serializers.Serializer):
    """A tray that was photographed twice. `fields` says which members there are."""

    recognition_id = serializers.IntegerField(min_value=0, max_value=MOST_NUMBER)
    recognized_on = serializers.DateField(
        required=False, allow_null=True, help_text="null where the data set does not say it"
    )
    batch_id = serializers.CharField(required=False, help_text="the load that brought it")
    loaded_at = serializers.DateTimeField(required=False)
    photos = RecognitionPhoto(many=True, required=False)
    menu_items = RecognitionDish(many=True, required=False, help_text="what was offered")
    check_lines = RecognitionCheckLine(many=True, required=False, help_text="what the till has")
    detections = RecognitionDetection(many=True, required=False, help_text="what a model has seen")


class RecognitionPage(serializers.Serializer):
    data = RecognitionRow(many=True)  # type: ignore[assignment]
    next_cursor = serializers.CharField(allow_null=True)
