"""The audit log: who did what, when and from where, a tenant's own."""

from django.db import models

from apps.core.entity_models import TenantManager


class Action(models.TextChoices):
    """What is recorded. A new one needs no migration: the column knows no choices."""

    UPLOAD_OPENED = "upload.opened", "an upload was opened for files to join"
    UPLOAD_COMPLETED = "upload.completed", "its sender said that no more files come"
    UPLOAD_CANCELLED = "upload.cancelled", "it takes no more files, those at work stop"
    UPLOAD_RESUMED = "upload.resumed", "its broken files were queued again"
    FILE_RECEIVED = "file.received", "a file was stored and queued"
    EXPORT_ORDERED = "export.ordered", "an export was queued"
    EXPORT_STREAMED = "export.streamed", "rows were asked for as the answer itself"
    EXPORT_DOWNLOADED = "export.downloaded", "the bytes of an export were asked for"
    EXPORT_CANCELLED = "export.cancelled", "an export was asked to stop"
    KEY_MINTED = "key.minted", "a key was made"
    KEY_ROTATED = "key.rotated", "a key got a successor"
    KEY_CHANGED = "key.changed", "the label, scopes, end or limit of a key were changed"
    KEY_REVOKED = "key.revoked", "a key was ended"
    TENANT_CREATED = "tenant.created", "the tenant was made"
    TENANT_CHANGED = "tenant.changed", "its settings or limits were changed"
    TENANT_SUSPENDED = "tenant.suspended", "it may do less, or nothing"
    TENANT_RESTORED = "tenant.restored", "it may do everything again"
    TENANT_EXPORTED = "tenant.exported", "everything of it was put into a folder"
    TENANT_ERASED = "tenant.erased", "everything of it was removed"
    WEBHOOK_CREATED = "webhook.created", "an address to be told of events was added"
    WEBHOOK_CHANGED = "webhook.changed", "its address, its events or its state were changed"
    WEBHOOK_ROTATED = "webhook.rotated", "its secret was replaced"
    WEBHOOK_DELETED = "webhook.deleted", "it was removed"
    WEBHOOK_TESTED = "webhook.tested", "a test message was sent"
    WEBHOOK_REPLAYED = "webhook.replayed", "a message was sent again"
    JOB_CHANGED = "job.changed", "an operator retried, took out or released a job"
    CALL_REFUSED = "call.refused", "a valid key was not allowed to do something"


class AuditEntry(models.Model):
    """One thing that was done. Rows are added and never changed (`guards` holds it).

    The id begins with the time (UUID version 7), so that its order is that of time: an index of
    ids serves every filter by time. `details` is a JSON object as text. No secret is in a row.
    """

    id = models.UUIDField(primary_key=True)
    tenant_id = models.UUIDField()
    recorded_at = models.DateTimeField()
    action = models.CharField(max_length=40)
    actor_kind = models.CharField(max_length=10)  # of origins.Kind
    actor = models.CharField(max_length=150)
    address = models.CharField(max_length=64, help_text="IP address, or a host's name")
    request_id = models.CharField(max_length=64)
    subject = models.CharField(max_length=100, help_text="what it was done to")
    details = models.TextField()

    objects = TenantManager()

    class Meta:
        db_table = "audit_log"
        indexes = [
            models.Index(fields=["tenant_id", "id"], name="audit_log_order_idx"),
            models.Index(fields=["tenant_id", "action", "id"], name="audit_log_action_idx"),
            models.Index(fields=["tenant_id", "actor", "id"], name="audit_log_actor_idx"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.subject}"


class AuditErasure(models.Model):
    """That a tenant's log up to a time may be removed, because the tenant was to be erased.

    Rows are added and never changed nor removed: they are what is left of the tenant.
    """

    tenant_id = models.UUIDField()
    ordered_at = models.DateTimeField()
    actor = models.CharField(max_length=150)
    address = models.CharField(max_length=64)

    class Meta:
        db_table = "audit_erasures"
        indexes = [models.Index(fields=["tenant_id", "ordered_at"], name="audit_erasures_idx")]

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.ordered_at}"
