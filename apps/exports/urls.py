from django.urls import path

from apps.exports import views

urlpatterns = [
    path("reports/export", views.Exports.as_view()),
    path("reports/export/<id:export_id>/", views.ExportStatus.as_view()),
    path("reports/export/<id:export_id>/cancel/", views.CancelExport.as_view()),
    path("reports/export/<id:export_id>/download", views.Download.as_view()),
    path("reports/takeouts", views.Takeouts.as_view()),
    path("reports/takeouts/<id:takeout_id>/", views.TakeoutStatus.as_view()),
]
