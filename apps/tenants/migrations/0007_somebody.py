from uuid import UUID

from django.db import migrations, models


class Migration(migrations.Migration):
    """The id that the service's own jobs and log have is no tenant's."""

    dependencies = [
        ("tenants", "0006_quotas"),
    ]

    operations = [
        migrations.AddConstraint(
            model_name="tenant",
            constraint=models.CheckConstraint(
                condition=~models.Q(tenant_id=UUID(int=0)), name="tenants_somebody"
            ),
        ),
    ]
