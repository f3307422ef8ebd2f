#!/bin/sh
# fetch-supercronic.sh FOLDER: puts Debian's supercronic there. Of the suites that follow the stable one this takes a
# single package, pinned and checked, by the sources that the system has for its own; it is unpacked, not installed.
set -eu
version=0.2.45-1
case $(dpkg --print-architecture) in
  amd64) sha256=a40026d0242aaf8b63b8c35e4e2ca1eea59b2836f58e2f64f6f3c0bff1d40128 ;;
  arm64) sha256=5a058ec8733985eb6718789fcd9db083afdb7cb673cfe444efd76aa78a649f30 ;;
  *)
    echo "supercronic: no checksum for $(dpkg --print-architecture); add it to deploy/fetch-supercronic.sh" >&2
    exit 1
    ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$1"
# The first stanza is the archive itself; the next is security's, which has no such suites.
awk 'BEGIN { RS = "" } NR == 1' /etc/apt/sources.list.d/debian.sources |
  sed 's/^Suites:.*/Suites: testing sid/; s/^Components:.*/Components: main/' >"$work/debian.sources"

# apt COMMAND...: with those sources alone, and leaving the system's own lists as they are. Lists of a mirror that lags
# are welcome: the checksum decides what is good.
apt() {
  "$@" -q -o Dir::Etc::SourceList="$work/debian.sources" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" \
    -o APT::Sandbox::User=root -o Acquire::Check-Valid-Until=false
}

apt apt-get update
cd "$work"
if ! apt apt-get download supercronic="$version"; then
  there=$(apt apt-cache madison supercronic | awk '{ print $3 }' | sort -u | xargs)
  echo "supercronic $version cannot be had from Debian's testing or sid; there is: ${there:-nothing}." >&2
  echo "Put that version and its two checksums (apt-cache show supercronic) into deploy/fetch-supercronic.sh." >&2
  exit 1
fi
echo "$sha256  $(ls supercronic_*.deb)" | sha256sum -c -
dpkg-deb -x supercronic_*.deb unpacked
cd - >/dev/null
install -m 755 "$work/unpacked/usr/bin/supercronic" "$1/supercronic"
