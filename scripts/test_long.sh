#!/usr/bin/env bash
# What `make test` takes a sample of, all of it, on both engines; then two storms and two limits. To be run before a release: its figures
# stand in docs/evidence.md. After scripts/setup.sh test.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
export TASKER_TEST_LONG=1
# One test takes many minutes: it does not hang.
pytest=(.venv/bin/python -m pytest -n 2 --dist worksteal -m long -o faulthandler_timeout=0 --durations=20)
storm=(.venv/bin/python -m tests.chaos.storm)
worst=0

part() {
  local code=0 begun=$SECONDS
  printf '\n== %s\n' "$1"
  "${@:2}" || code=$?
  echo "== $1: $((SECONDS - begun)) s, exit $code"
  [ $code -le $worst ] || worst=$code
}

without_database=(env)
for name in DB_USER DB_PASS DB_HOST DB_PORT DB_NAME; do
  without_database+=(-u "$name" -u "${name}_FILE")
done
begun=$SECONDS
part "Long tests on SQLite" "${without_database[@]}" "${pytest[@]}"
part "Long tests on ${DB_HOST:-a private MariaDB}" .venv/bin/python -m tests.database_server -- "${pytest[@]}"
part "1,000 kills of passes and workers" "${storm[@]}" --kills 1000 --requests 3000
part "12 kills of the database server, 60 of passes and workers" \
  "${without_database[@]}" "${storm[@]}" --kills 60 --database-kills 12 --requests 600
part "20,000 jobs behind 100/s and 8 at once, 40 kills of workers" \
  "${without_database[@]}" .venv/bin/python -m tests.chaos.limited --jobs 20000 --kills 40
part "A service that is down for a minute, 5,000 jobs" \
  "${without_database[@]}" .venv/bin/python -m tests.chaos.limited --jobs 5000 --outage 60 \
  --limit "rate=100/s concurrency=8 breaker=5"
echo "make test-long: $((SECONDS - begun)) s, $([ $worst -eq 0 ] && echo passed || echo FAILED)"
exit $worst
