"""The tables of recognitions, for reading: one line a table."""

from apps.recognitions.declared import model_for
from headrace.recognitions import schema

RecognitionFile = model_for(schema.RECOGNITION_FILES, "RecognitionFile")
CorrectDishes = model_for(schema.CORRECT_DISHES, "CorrectDishes")
DishCatalog = model_for(schema.DISH_CATALOG, "DishCatalog")
QwenAnnotation = model_for(schema.QWEN_ANNOTATIONS, "QwenAnnotation")
Recognition = model_for(schema.RECOGNITIONS, "Recognition")
Photo = model_for(schema.PHOTOS, "Photo")
MenuItem = model_for(schema.MENU_ITEMS, "MenuItem")
Check = model_for(schema.CHECKS, "Check")
CheckLine = model_for(schema.CHECK_LINES, "CheckLine")
Detection = model_for(schema.DETECTIONS, "Detection")
ObjectIntent = model_for(schema.INTENTS, "ObjectIntent")
Store = model_for(schema.STORES, "Store")
