from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs_app', '0008_forget_unseen_ends'),
    ]

    operations = [
        # Without a default: so it is added at once, and a process of the release before goes on inserting rows.
        migrations.AddField(
            model_name='job',
            name='answer',
            field=models.TextField(blank=True, null=True),
        ),
    ]
