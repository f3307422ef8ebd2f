#!/usr/bin/env bash
# Tries the image and docker-compose.yml for real, in a project of its own that is gone at the end: six to eight minutes.
# Needs Docker with Compose, and the image: `docker compose build` beforehand. PORT and DB_PORT name free ports.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
port=${PORT:-18000} db_port=${DB_PORT:-13306}
work=$(mktemp -d)
chmod 755 "$work" # the containers' user reads the files below

files=(-f "$root/docker-compose.yml" -f "$work/override.yml")
compose() {
  docker compose --ansi never --project-name tasker-check --project-directory "$work" "${files[@]}" --profile demo "$@"
}

end() {
  code=$?
  [ $code -eq 0 ] || { compose ps -a; compose logs --tail 40; } 2>&1
  compose down --volumes --timeout 5 >/dev/null 2>&1
  rm -rf "$work"
  [ $code -eq 0 ] && echo "$SECONDS s: all is well" || echo "$SECONDS s: FAILED" >&2
}
trap end EXIT

say() { echo "$SECONDS s: $*"; }
die() {
  echo "$*" >&2
  exit 1
}
sql() { # one statement, as the owner: the password stays in the container
  # shellcheck disable=SC2016 # expanded in there
  compose exec -T db sh -c 'MYSQL_PWD="$(cat "$MYSQL_PASSWORD_FILE")" \
    mysql --protocol=tcp --host=127.0.0.1 --port="$2" --user="$MYSQL_USER" --skip-column-names --batch \
    --execute "$1" "$MYSQL_DATABASE"' sh "$1" "$db_port"
}
up() {
  compose up --detach --no-build --wait --quiet-pull "$@" >"$work/up.log" 2>&1 || die "$(cat "$work/up.log")"
}
# wait_for SECONDS WANTED SQL
wait_for() {
  local deadline=$((SECONDS + $1)) got=
  until got=$(sql "$3") && [ "$got" = "$2" ]; do
    [ $SECONDS -lt $deadline ] || die "after $1 s: $3 answers '$got', not '$2'"
    sleep 1
  done
}

# The seed's names alone, less those with a default ---------------------------------------------------------------------
settings() {
  cat <<END
PORT=$port
DB_USER=tasker
DB_PASS='pass word \$x #y'
DB_PORT=$db_port
DB_NAME=tasker
DJANGO_SECRET_KEY=a-key-for-the-web-process-alone-0123456789
WRK_JOB_CRON=* * * * *
WRK_REQUEST_NEW_CRON=* * * * *
WRK_REQUEST_INPROGRESS_CRON=* * * * *
URL_SERVICE1=http://demo:8101
URL_SERVICE2=http://demo:8102
URL_SERVICE3=http://demo:8103
END
}
settings >"$work/.env"
cat >"$work/override.yml" <<'END'
services:
  worker:
    volumes:
      - ./slow_job.py:/app/jobs_app/callbacks/slow_job.py:ro
END
cat >"$work/slow_job.py" <<'END'
import time

from jobs_app.registry import job


@job("slow_job")
def slow_job(context):
    time.sleep(12)
END

grep -v DB_NAME "$work/.env" >"$work/short.env"
said=$(compose --env-file "$work/short.env" config 2>&1) && die "a .env without DB_NAME was taken"
say "without DB_NAME: $(grep -o 'required variable.*' <<<"$said")"

up
say "up: $(compose ps --format '{{.Service}} {{.Health}}' | xargs)"
curl --fail --silent --show-error "http://127.0.0.1:$port/heartbeat" "http://127.0.0.1:$port/ready" | xargs echo "web:"
curl --fail --silent "http://127.0.0.1:$port/metrics" | grep -E '^tasker_(database_up|web_workers) '

# Hardening ---------------------------------------------------------------------------------------------------------------
# shellcheck disable=SC2016 # expanded in there
for service in web worker; do
  compose exec -T "$service" sh -c '
    [ "$(id -u)" = 10001 ] || { echo "runs as $(id -u)"; exit 1; }
    touch /app/x /usr/x /x 2>/dev/null && { echo "its root can be written to"; exit 1; }
    touch /tmp/x || exit 1
    grep -qx "CapEff:.0000000000000000" /proc/self/status || { echo "it has capabilities"; exit 1; }
    grep -qx "NoNewPrivs:.1" /proc/self/status || { echo "it may gain privileges"; exit 1; }
    ! command -v gcc cc >/dev/null || { echo "it has a compiler"; exit 1; }' || die "$service"
done
say "web and worker: user 10001, root read-only, no capability, no compiler"

# Who they are to the database, and what they know of it ---------------------------------------------------------------------
run_sql() { # run_sql SERVICE SQL: as that service's user
  compose exec -T "$1" python manage.py shell --no-imports -c \
    "from django.db import connection; c = connection.cursor(); c.execute(\"\"\"$2\"\"\"); print(c.fetchall())" 2>&1
}
for pair in web:tasker_web worker:tasker; do
  [[ $(run_sql "${pair%:*}" "SELECT CURRENT_USER()") == *"'${pair#*:}@%'"* ]] || die "$pair: $(run_sql "${pair%:*}" "SELECT CURRENT_USER()")"
done
for statement in "UPDATE auth_user SET password = ''" "DELETE FROM requests" "DROP TABLE jobs"; do
  for service in web worker; do
    [[ $(run_sql "$service" "$statement") == *denied* ]] || die "$service may: $statement"
  done
done
for service in web demo db; do
  compose exec -T "$service" env | grep -q 'pass word' && die "$service has the worker's password"
done
for service in web worker demo; do
  compose exec -T "$service" sh -c 'cat /run/secrets/root/password /run/secrets/owner/password' >/dev/null 2>&1 && die "$service reads root's password"
done
compose exec -T worker env | grep -q SECRET_KEY && die "the worker has the web process's key"
compose run --rm --no-deps -T -e DB_PASS= users >/dev/null 2>&1 && die "a worker without a password is made"
compose run --rm --no-deps -T keeper --older-than 90d | grep -q '^purge_requests ' || die "the keeper cannot purge"
compose exec -T -e DJANGO_SUPERUSER_PASSWORD=x web python manage.py createsuperuser --noinput --username eve --email e@example.org \
  >/dev/null 2>&1 && die "the web process makes accounts"
say "web, worker and keeper are users of their own, each with its own secret"

# A request, from INSERT to Completed by the container's own cron -----------------------------------------------------------
sql "INSERT INTO requests (token, action, params) VALUES ('check', 'delete_user', '{\"id\": 7}')"
wait_for 330 Completed "SELECT status FROM requests WHERE token = 'check'"
say "one INSERT became Completed"
compose exec -T web python manage.py show_request check
logs=$(compose logs --no-log-prefix worker)
grep -m 1 'run_jobs claimed=[1-9]' <<<"$logs" || die "no run_jobs line in the worker's log: $logs"

# Stopping in the middle of a backlog -----------------------------------------------------------------------------------------
slow='[{"name": "only", "jobs": ["slow_job"]}]'
sql "INSERT INTO requests (action, steps) WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 100)
  SELECT 'slow', '$slow' FROM n"
wait_for 150 1 "SELECT count(*) >= 32 FROM jobs WHERE name = 'slow_job' AND status = 'inprogress'"
sleep 2
begun=$SECONDS
compose stop worker >/dev/null 2>&1
say "the worker stopped in $((SECONDS - begun)) s: $(sql "SELECT status, count(*) FROM jobs WHERE name = 'slow_job' GROUP BY 1" | xargs)"
[ $((SECONDS - begun)) -le 30 ] || die "that was too slow"
[ "$(sql "SELECT count(*) FROM jobs WHERE name = 'slow_job' AND status = 'completed'")" -ge 32 ] || die "jobs were not let finish"
[ "$(sql "SELECT count(*) FROM jobs WHERE status = 'inprogress' OR attempt > 1")" = 0 ] || die "jobs were cut off"

# WRK_ENABLED=false ---------------------------------------------------------------------------------------------------------
{ settings && echo WRK_ENABLED=false; } >"$work/.env"
up worker
say "with WRK_ENABLED=false: $(compose ps worker --format '{{.Health}}'); $(compose logs --no-log-prefix worker | tail -1)"
begun=$SECONDS
compose stop worker >/dev/null 2>&1
[ $((SECONDS - begun)) -le 4 ] || die "idle, it took $((SECONDS - begun)) s to stop"

# The password in a file -------------------------------------------------------------------------------------------------------
mkdir -p "$work/var/secrets"
sed -n "s/^DB_PASS='\(.*\)'$/\1/p" "$work/.env" >"$work/var/secrets/db_pass"
sed -i "s|^DB_PASS=.*|DB_PASS=\nDB_PASS_FILE=/run/secrets/db_pass|" "$work/.env"
files+=(-f "$root/deploy/compose.secrets.yml")
up worker
compose exec -T worker python manage.py healthcheck --since-start | xargs echo "with DB_PASS_FILE:"
compose exec -T worker env | grep -q 'pass word' && die "the password is in the environment"
compose config | grep -q 'pass word' && die "the password is in the configuration"
true
