#!/bin/sh
# Installs the libraries into a temporary directory and builds a small consumer, through the CMake package and through pkg-config.
# usage: test_install.sh <build directory> <cmake> <cc> <consumer's sources>
set -eu
build=$1 cmake=$2 cc=$3 consumer=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$cmake" --install "$build" --component dataplane --prefix "$work/prefix" >"$work/log" || { cat "$work/log"; exit 1; }

"$cmake" -G Ninja -S "$consumer" -B "$work/cmake" -DCMAKE_C_COMPILER="$cc" -DCMAKE_PREFIX_PATH="$work/prefix" >"$work/log" 2>&1 &&
  "$cmake" --build "$work/cmake" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
for program in core core_static with_agent with_agent_static; do
  test "$("$work/cmake/$program")" = 0.1.0
done

PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name trimtab-dataplane.pc)")
libdir=$(dirname "$PKG_CONFIG_PATH")
export PKG_CONFIG_PATH
# shellcheck disable=SC2046
$cc "$consumer/main.c" -o "$work/by_pc" $(pkg-config --cflags --libs trimtab-dataplane)
$cc -DWITH_AGENT "$consumer/main.c" -o "$work/agent_by_pc" $(pkg-config --cflags --libs trimtab-agent)
test "$(LD_LIBRARY_PATH=$libdir "$work/by_pc")" = 0.1.0
test "$(LD_LIBRARY_PATH=$libdir "$work/agent_by_pc")" = 0.1.0

# The core needs libc alone, and shows nothing but its API.
needed=$(readelf -d "$libdir/libtrimtab-dataplane.so" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -v -e '^libc\.so' -e '^ld-linux' || true)
test -z "$needed" || { echo "the core needs $needed"; exit 1; }
for library in dataplane agent; do
  shown=$(nm -D --defined-only "$libdir/libtrimtab-$library.so" | awk '$2 != "A" {print $3}' | sed 's/@.*//' | grep -v -e '^tt_dp_' -e '^tt_agent_' || true)
  test -z "$shown" || { echo "$library shows $shown"; exit 1; }
done
declared=$(sed -n 's/^TT_API .*[ *]\(tt_[a-z_]*\)(.*/\1/p' "$work"/prefix/include/trimtab/*.h | sort)
exported=$(nm -D --defined-only "$libdir"/libtrimtab-*.so | awk '$2 == "T" {print $3}' | sed 's/@.*//' | grep -v private | sort -u)
test "$declared" = "$exported" || { echo "declared and exported differ:"; echo "$declared"; echo --; echo "$exported"; exit 1; }
test ! -e "$work/prefix/include/trimtab/private.h"
