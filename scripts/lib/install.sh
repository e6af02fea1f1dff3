# Sourced by scripts/run, scripts/test and scripts/bench: what each needs from Debian 12, installed when missing.
# shellcheck shell=bash

packages_build=(gcc libc6-dev cmake ninja-build pkg-config ca-certificates git
  libmicrohttpd-dev libjansson-dev libcurl4-openssl-dev libpcre2-dev libsqlite3-dev libyaml-dev libpq-dev libsodium-dev libevent-dev zlib1g-dev)
packages_run=(prometheus python3-minimal python3 procps)
packages_test=(libcmocka-dev prometheus prometheus-alertmanager postgresql postgresql-contrib chromium nodejs npm python3 procps util-linux)

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# install_missing PACKAGE...: quiet when everything is there, so that a second run costs nothing and needs no root.
install_missing() {
  command -v dpkg-query >/dev/null || die "this script installs Debian packages and found no dpkg; install these by hand and set TRIMTAB_NO_INSTALL=1: $*"
  [ -z "${TRIMTAB_NO_INSTALL:-}" ] || return 0
  local missing=() p
  for p in "$@"; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' && continue
    # Another node (from its own repository) brings npm inside the nodejs package.
    [ "$p" = npm ] && command -v npm >/dev/null && continue
    [ "$p" = nodejs ] && command -v node >/dev/null && continue
    missing+=("$p")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  local sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "these packages are missing and installing them needs root: ${missing[*]}"
    sudo=(sudo)
  fi
  say "installing ${#missing[@]} Debian packages: ${missing[*]}"
  # Debian starts what it installs; ours are started by the scripts that need them, on their own ports.
  local policy=/usr/sbin/policy-rc.d made=
  if [ ! -e $policy ]; then printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee $policy >/dev/null && "${sudo[@]}" chmod 755 $policy && made=1; fi
  local log
  log=$(mktemp)
  if ! { "${sudo[@]}" apt-get update -q && "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    [ -n "$made" ] && "${sudo[@]}" rm -f $policy
    tail -n 20 "$log" >&2
    die "apt-get could not install them; its last lines are above"
  fi
  rm -f "$log"
  [ -n "$made" ] && "${sudo[@]}" rm -f $policy
  return 0
}

# build DIR CMAKE_ARGUMENT...: configures and builds, one line a stage, the log only when it fails.
build() {
  local dir=$1
  shift
  local log
  log=$(mktemp)
  say "building ${dir#"$root"/}"
  if ! { cmake -S "$root" -B "$dir" -G Ninja "$@" && cmake --build "$dir"; } >"$log" 2>&1; then
    grep -E -A5 'error|warning|FAILED|CMake Error' "$log" | head -n 60 >&2
    die "the build failed; the whole log is $log"
  fi
  rm -f "$log"
}
