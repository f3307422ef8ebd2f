#!/usr/bin/env bash
# Every rule that a machine keeps; stops at the first that is broken. After scripts/setup.sh lint.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH

check() {
  printf '== %s\n' "$*"
  "$@"
}

check ruff check --output-format concise .
check ruff format --check .
check mypy
check lint-imports --no-logo
# In memory and without DB_*: the question is about the code, not about any database.
check env -u DB_USER -u DB_PASS -u DB_HOST -u DB_PORT -u DB_NAME WRK_SQLITE_FILE=:memory: \
  python manage.py makemigrations --check --dry-run
if [ -e Dockerfile ]; then check hadolint Dockerfile; fi
if [ -e docker-compose.yml ]; then check check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml; fi
