from django.db import migrations


class Migration(migrations.Migration):
    """The table stays until a later release: processes of the release before, which may run beside this one, write it."""

    dependencies = [
        ('jobs_app', '0007_unseen_ends'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(state_operations=[migrations.DeleteModel(name='UnseenEnd')]),
    ]
