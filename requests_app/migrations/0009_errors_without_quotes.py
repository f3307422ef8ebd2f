import re

from django.db import connections, migrations, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

WINDOW = 5000  # ids that one transaction looks at
_FAILED = r'\S+ failed: (?:gave up after \d+ attempts?: )?'
_QUOTE = re.compile(
    rf'({_FAILED}[\w-]+ [A-Z]+ /\S*: (?:answered \d{{3}}|the answer is not a JSON object|no usable answer)): '
)
_BUG = re.compile(rf'({_FAILED}[\w.]*(?:Error|Exception|Exit|Interrupt|Group)): ')


def without_quote(error: str) -> str | None:
    """Of an error of the release before our own sentence; None when there is no quote in it."""
    found = _QUOTE.match(error) or _BUG.match(error)
    return found[1] if found else None


def cut_errors(apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """What services and exceptions said is kept on the job alone. In windows, each a short transaction."""
    using = schema_editor.connection.alias
    with connections[using].cursor() as cursor:
        cursor.execute('SELECT MIN(id), MAX(id) FROM requests')
        first, last = cursor.fetchone()
        for start in range(first or 0, (last or 0) + 1, WINDOW) if last else ():
            with transaction.atomic(using=using):
                cursor.execute(
                    "SELECT id, error FROM requests WHERE id >= %s AND id < %s AND error <> ''", [start, start + WINDOW]
                )
                found = [(ours, id_, error) for id_, error in cursor.fetchall() if (ours := without_quote(error))]
                for ours, id_, error in found:
                    cursor.execute("UPDATE requests SET error = %s WHERE id = %s AND error = %s", [ours, id_, error])


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('requests_app', '0008_purges'),
    ]

    operations = [migrations.RunPython(cut_errors, migrations.RunPython.noop)]
