#!/usr/bin/env bash
# The suite twice: on SQLite without any server, then, what asks for a database, on the server that DB_* name or, without
# them, a private MariaDB. Arguments go to pytest. After scripts/setup.sh test.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
pytest=(.venv/bin/python -m pytest -n 4 --dist worksteal "$@")
worst=0
unset PYTHONDONTWRITEBYTECODE # hundreds of processes import the same modules: each would compile them

# leg NAME COMMAND...: one run; a selection (-k) that finds nothing in one of the two is no fault.
leg() {
  local code=0
  printf '\n== %s\n' "$1"
  "${@:2}" || code=$?
  [ $code -eq 5 ] || [ $code -le $worst ] || worst=$code
}

without_database=(env)
for name in DB_USER DB_PASS DB_HOST DB_PORT DB_NAME; do
  without_database+=(-u "$name" -u "${name}_FILE")
done
begun=$SECONDS
leg "Tests on SQLite" "${without_database[@]}" "${pytest[@]}"
leg "Tests on ${DB_HOST:-a private MariaDB}" .venv/bin/python -m tests.database_server -- "${pytest[@]}" --only-database
echo "make test: $((SECONDS - begun)) s, $([ $worst -eq 0 ] && echo passed || echo FAILED)"
exit $worst
