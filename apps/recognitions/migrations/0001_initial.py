"""The tables of recognitions: what came, what it says, and what the loader must remember."""

from django.db import migrations

from apps.recognitions.operations import MakeTable


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        MakeTable("raw_recognition_files", "RecognitionFile"),
        MakeTable("raw_correct_dishes", "CorrectDishes"),
        MakeTable("raw_dish_catalog", "DishCatalog"),
        MakeTable("raw_qwen_annotations", "QwenAnnotation"),
        MakeTable("recognitions", "Recognition"),
        MakeTable("recognition_photos", "Photo"),
        MakeTable("recognition_menu_items", "MenuItem"),
        MakeTable("recognition_checks", "Check"),
        MakeTable("recognition_check_lines", "CheckLine"),
        MakeTable("recognition_detections", "Detection"),
        MakeTable("recognition_intents", "ObjectIntent"),
        MakeTable("recognition_stores", "Store"),
    ]
