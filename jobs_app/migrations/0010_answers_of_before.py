import re

from django.db import connections, migrations, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

WINDOW = 5000  # ids that one transaction looks at
_GAVE_UP = r'(?:gave up after \d+ attempts?: )?'
_QUOTE = re.compile(
    rf'({_GAVE_UP}[\w-]+ [A-Z]+ /\S*: (?:answered \d{{3}}|the answer is not a JSON object|no usable answer)): (.+)',
    re.DOTALL,
)
_BUG = re.compile(rf'({_GAVE_UP}[\w.]+)\b.*?Traceback \(most recent call last\)', re.DOTALL)


def parted(error: str) -> tuple[str, str] | None:
    """Our sentence and the rest of an error of the release before; None when there is no quote in it."""
    if quote := _QUOTE.match(error):
        return quote[1], quote[2]
    if bug := _BUG.match(error):
        return bug[1], error
    return None


def part_errors(apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """What services and exceptions said leaves `error`. In windows, each a short transaction: the table is in use."""
    using = schema_editor.connection.alias
    with connections[using].cursor() as cursor:
        cursor.execute('SELECT MIN(id), MAX(id) FROM jobs')
        first, last = cursor.fetchone()
        for start in range(first or 0, (last or 0) + 1, WINDOW) if last else ():
            with transaction.atomic(using=using):
                cursor.execute(
                    "SELECT id, error FROM jobs WHERE id >= %s AND id < %s AND error <> ''", [start, start + WINDOW]
                )
                found = [(parts, id_) for id_, error in cursor.fetchall() if (parts := parted(error))]
                for (ours, theirs), id_ in found:
                    cursor.execute(
                        "UPDATE jobs SET error = %s, answer = %s WHERE id = %s AND answer IS NULL "
                        "AND error <> 'scrubbed'",
                        [ours, theirs, id_],
                    )


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('jobs_app', '0009_answer'),
    ]

    operations = [migrations.RunPython(part_errors, migrations.RunPython.noop)]
