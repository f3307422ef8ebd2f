import jobs_app.db.columns
from django.db import migrations, models


class Migration(migrations.Migration):
    """The column first with a constant: what is there was placed by nobody we know, and no row is copied for it."""

    dependencies = [
        ('requests_app', '0015_receipts'),
    ]

    operations = [
        migrations.AddField(
            model_name='request',
            name='placed_by',
            field=jobs_app.db.columns.ByteCharField(blank=True, db_default='', max_length=384),
        ),
        migrations.AlterField(
            model_name='request',
            name='placed_by',
            field=jobs_app.db.columns.ByteCharField(blank=True, db_default=jobs_app.db.columns.CurrentUser(), max_length=384),
        ),
        migrations.AddIndex(
            model_name='request',
            index=models.Index(fields=['placed_by', 'id'], name='requests_placed_by'),
        ),
    ]
