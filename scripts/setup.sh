#!/usr/bin/env bash
# Makes .venv and installs what is missing on this machine. Run again, it does only what is left, mostly nothing.
#   scripts/setup.sh runtime   what the project runs on
#   scripts/setup.sh lint      ... and the tools that check it
#   scripts/setup.sh test      ... and a MariaDB server, a browser and Prometheus for its tests
# System packages are installed by apt where we are root or may use sudo without a password; else the exact command is
# printed and we stop. PYTHON=python3.12 selects the interpreter; without it, the first that is new enough.
set -euo pipefail
cd "$(dirname "$0")/.."

level=${1:-runtime}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

die() {
  printf '%s\n' "$@" >&2
  exit 1
}

# step WHAT COMMAND...: one line for people, with the time it took; the command's output only when it fails.
step() {
  local what=$1 begun=$SECONDS columns pid
  shift
  columns=$(tput cols 2>/dev/null || echo 80)
  printf '%s ... ' "$what"
  "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  trap 'kill "$pid" 2>/dev/null; wait "$pid" || true; echo stopped; exit 130' INT TERM
  while [ -t 1 ] && kill -0 "$pid" 2>/dev/null; do
    # Cut to one line of the terminal: a carriage return does not go back over two.
    printf '\r\033[K%s ... %s s' "${what:0:columns-12}" $((SECONDS - begun))
    sleep 0.2
  done
  [ ! -t 1 ] || printf '\r\033[K%s ... ' "$what"
  if wait "$pid"; then
    trap - INT TERM
    echo "done, $((SECONDS - begun)) s"
  else
    echo "failed after $((SECONDS - begun)) s. The end of its output:"
    tail -n 25 "$log" >&2
    exit 1
  fi
}

# System packages -----------------------------------------------------------------------------------------------------

# need_packages WHY PACKAGE...: installs them, or says how and stops.
need_packages() {
  local why=$1 become=""
  shift
  [ $# -gt 0 ] || return 0
  if ! command -v apt-get >/dev/null; then
    die "$why, for which this is missing, by Debian's names: $*" \
      "There is no apt-get here: install your system's equivalents, then run make again."
  fi
  if [ "$(id -u)" != 0 ]; then
    become="sudo -n"
    if ! { command -v sudo && sudo -n true; } >/dev/null 2>&1; then
      die "$why, for which system packages are missing. Installing them takes root. Please run:" "" \
        "  sudo apt-get update && sudo apt-get install -y --no-install-recommends $*" "" \
        "then run make again."
    fi
  fi
  local apt="$become env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -q -o DPkg::Lock::Timeout=300"
  # shellcheck disable=SC2086 # $apt is words
  step "Updating apt's package lists" $apt update
  # shellcheck disable=SC2086
  step "Installing system packages: $*" $apt install -y --no-install-recommends "$@"
}

# What compiling mysqlclient (it has no Linux wheels) and making a virtual environment take, as far as it is missing.
missing_build_packages() {
  local version
  command -v gcc >/dev/null || command -v cc >/dev/null || echo gcc libc6-dev
  command -v pkg-config >/dev/null || echo pkg-config
  pkg-config --exists libmariadb 2>/dev/null || pkg-config --exists mysqlclient 2>/dev/null || echo libmariadb-dev
  version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
  # Debian splits these from its Python; other builds bring them along.
  "$python" -c 'import sys, sysconfig, pathlib
sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())' || echo "$version-dev"
  "$python" -c 'import ensurepip, venv' 2>/dev/null || echo "$version-venv"
}

# What the tests use. mariadb-server-core is Debian's mariadb-server without its service.
missing_test_packages() {
  if [ -z "${DB_HOST:-}" ] && ! PATH=$PATH:/usr/sbin command -v mariadbd >/dev/null; then
    echo mariadb-server-core mariadb-client-core
  fi
  command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null ||
    echo chromium
  command -v chromedriver >/dev/null || echo chromium-driver
  command -v openssl >/dev/null || echo openssl
}

# Unpacked, not installed: Debian would start it as a service, and the tests want the two programs only. Without them the
# tests that use them say so.
unpack_prometheus() {
  local folder apt="env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300"
  folder=$(mktemp -d)
  # shellcheck disable=SC2064,SC2086 # the folder of now; $apt is words
  trap "rm -rf '$folder'" RETURN
  # shellcheck disable=SC2086
  (cd "$folder" && { $apt download prometheus || { $apt update && $apt download prometheus; }; }) &&
    dpkg -x "$folder"/prometheus_*.deb "$folder/unpacked" &&
    install -m 755 "$folder"/unpacked/usr/bin/{prometheus,promtool} .venv/bin/
}

# Python --------------------------------------------------------------------------------------------------------------

find_python() {
  local candidate
  for candidate in ${PYTHON:-.venv/bin/python python3 python3.14 python3.13 python3.12 python3.11}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  if [ -n "${PYTHON:-}" ]; then
    die "PYTHON=$PYTHON is $(version_of "$PYTHON"): Python 3.11 or newer is needed."
  fi
  die "Python 3.11 or newer is needed; python3 is $(version_of python3)." \
    "If a newer one has another name, say it: PYTHON=/path/to/python3.12 make ..."
}

version_of() { "$1" --version 2>/dev/null || echo "no program here"; }
full_version() { "$1" -c 'import sys; print(sys.version)' 2>/dev/null; }

make_venv() {
  if [ "$(full_version .venv/bin/python)" = "$(full_version "$python")" ] &&
    .venv/bin/python -m pip --version >/dev/null 2>&1; then
    return 0 # whole: one whose making was cut short has no pip
  fi
  step "Making .venv with $(version_of "$python")" "$python" -m venv --clear .venv
}

# pip_install NAME FILE...: runs pip once for each state of the requirements; the stamp remembers it.
pip_install() {
  local stamp=.venv/.installed-$1 state
  state=$(full_version .venv/bin/python && cat requirements* | cksum)
  if [ "$(cat "$stamp" 2>/dev/null)" = "$state" ]; then
    return 0
  fi
  step "Installing Python packages ($2)" .venv/bin/python -m pip install --disable-pip-version-check "${@:3}"
  printf '%s\n' "$state" >"$stamp"
}

python=$(find_python)
case $level in
  runtime | lint | test) ;;
  *) die "scripts/setup.sh runtime | lint | test" ;;
esac

if [ ! -e .venv/.installed-runtime ] || [ "$(full_version .venv/bin/python)" != "$(full_version "$python")" ]; then
  # shellcheck disable=SC2046 # a list of packages
  need_packages "The MySQL client (mysqlclient) is compiled here" $(missing_build_packages)
  make_venv
fi
if [ -e requirements.lock ]; then
  pip_install runtime requirements.lock --require-hashes -r requirements.lock
else
  pip_install runtime requirements.txt -r requirements.txt
fi
if [ "$level" != runtime ]; then
  pip_install development requirements-dev.txt -r requirements-dev.txt
fi
if [ "$level" = test ]; then
  # shellcheck disable=SC2046
  need_packages "The tests use a MariaDB server, a browser and openssl" $(missing_test_packages)
  if ! PATH=$PATH:.venv/bin command -v prometheus promtool >/dev/null; then
    echo "Unpacking Prometheus"
    unpack_prometheus >"$log" 2>&1 </dev/null || echo "It cannot be had here: the tests that need it are left out."
  fi
fi
