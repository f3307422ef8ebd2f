import jobs_app.db.columns
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs_app', '0012_limits'),
    ]

    operations = [
        migrations.CreateModel(
            name='AuditEvent',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('at', models.DateTimeField(db_default=jobs_app.db.columns.UtcNow())),
                ('event', jobs_app.db.columns.ByteCharField(max_length=40)),
                ('account', jobs_app.db.columns.ByteCharField(max_length=255)),
                ('address', jobs_app.db.columns.ByteCharField(blank=True, db_default='', max_length=45)),
                ('token', jobs_app.db.columns.ByteCharField(blank=True, db_default='', max_length=64)),
                ('subject', jobs_app.db.columns.ByteCharField(blank=True, db_default='', max_length=100)),
                ('detail', models.CharField(blank=True, db_default='', max_length=500)),
            ],
            options={
                'db_table': 'audit_events',
                'verbose_name': 'audit event',
                'indexes': [
                    models.Index(fields=['event', 'id'], name='audit_events_event'),
                    models.Index(fields=['account', 'id'], name='audit_events_account'),
                    models.Index(fields=['token', 'id'], name='audit_events_token'),
                    models.Index(fields=['subject', 'id'], name='audit_events_subject'),
                    models.Index(fields=['at', 'id'], name='audit_events_at'),
                ],
            },
        ),
        migrations.AddConstraint(
            model_name='auditevent',
            constraint=jobs_app.db.columns.SqliteTypes(integers=(), moments=('at',), name='audit_events_types'),
        ),
    ]
