#!/usr/bin/env bash
# The tests that depend on versions, on each Python that is here with each Django that runs on it: on SQLite, then on the
# server that DB_* name or a private MariaDB. Environments are kept in var/versions, what came out is added to
# var/versions/results.txt, from which docs/versions.md is written. Warnings of deprecation are errors, as in every test.
#   PYTHONS="python3.12 /opt/python/bin/python3.14" DJANGOS="5.2 6.0" scripts/versions.sh [PYTEST ARGUMENTS]
# It installs no system packages: scripts/setup.sh test does.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
shopt -s nullglob
pythons=${PYTHONS:-python3.11 python3.12 python3.13 python3.14 $(echo "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[1-4].*/bin/python3)}
# What touches Django, the database's SQL or the interpreter, in a minute or two. `tests` as the argument: everything.
tests=(tests/jobs_app/db tests/jobs_app/models tests/jobs_app/worker/test_callback.py tests/requests_app/models
  tests/requests_app/admin tests/requests_app/test_passes.py tests/requests_app/test_worker.py
  tests/requests_app/operations/test_verify.py tests/requests_app/operations/test_interventions.py
  tests/requests_app/monitoring/test_probes.py tests/requests_app/monitoring/test_gauges.py
  tests/tasker_site/test_embedding.py tests/tasker_testing/test_run.py tests/security/test_logins.py)
[ $# -eq 0 ] || tests=("$@")
engines=${ENGINES:-sqlite server} # one of them, for that one alone
folder=var/versions results=var/versions/results.txt
worst=0

# may_run PYTHON DJANGO: as Django's own table of versions has it.
may_run() {
  case "$1/$2" in
    3.11/5.2 | 3.1[2-9]/5.2 | 3.1[2-9]/6.*) return 0 ;;
    *) return 1 ;;
  esac
}

# environment PYTHON DJANGO FOLDER
environment() {
  [ ! -e "$3/.installed" ] || [ "$3/.installed" -ot requirements.txt ] || [ "$3/.installed" -ot requirements-dev.txt ] ||
    return 0
  "$1" -m venv --clear "$3" && echo "django~=$2.0" >"$3/constraints.txt" &&
    "$3/bin/python" -m pip install -q --disable-pip-version-check -c "$3/constraints.txt" -r requirements-dev.txt &&
    touch "$3/.installed"
}

# leg LOG COMMAND...: one run, and its line in the results.
leg() {
  local log=$1 code=0
  "${@:2}" >"$log" 2>&1 || code=$?
  echo "$(date -u +%F) $(grep -m1 -oP '^versions: \K.*' "$log"): $(tail -n 1 "$log" | tr -d '=')" | tee -a "$results"
  [ $code -eq 0 ] || { grep -E '^(FAILED|ERROR) ' "$log"; worst=1; }
}

without_database=(env)
for name in DB_USER DB_PASS DB_HOST DB_PORT DB_NAME; do
  without_database+=(-u "$name" -u "${name}_FILE")
done
mkdir -p "$folder"
done_already=" "
for python in $pythons; do
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
  for django in ${DJANGOS:-5.2 6.0}; do
    venv=$folder/$version-$django
    may_run "$version" "$django" && [[ $done_already != *" $venv "* ]] || continue
    done_already+="$venv "
    if ! environment "$python" "$django" "$venv" >"$venv.log" 2>&1; then
      echo "Python $version, Django $django: cannot be installed:" && tail -n 5 "$venv.log"
      worst=1
      continue
    fi
    pytest=("$venv/bin/python" -m pytest -n "${PROCESSES:-4}" --dist worksteal "${tests[@]}")
    [[ $engines == server ]] || leg "$venv.sqlite.log" "${without_database[@]}" "${pytest[@]}"
    [[ $engines == sqlite ]] || leg "$venv.server.log" "$venv/bin/python" -m tests.database_server -- "${pytest[@]}" --only-database
  done
done
[ "$done_already" != " " ] || { echo "None of these is here: $pythons" >&2; exit 1; }
exit $worst
