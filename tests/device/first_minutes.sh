#!/usr/bin/env bash
# The first minutes on a GPU, in order of worth: what only a GPU can show, each step within its own limit.
#
#   tests/device/first_minutes.sh OUT [SECONDS]
#
# Logs and run directories go to OUT; what is worth keeping goes to OUT/reference/MACHINE/NAME, to be committed under
# results/reference. A table of all steps comes last. Steps for which no time is left are not begun.
#
#   DEVICE  cuda by default; cpu rehearses it
#   PYTHON  the interpreter, python3 by default
#   ONLY    names of steps, to run these alone
#   QUICK   options that every run is given, such as --quick
#   LEAST   seconds that must be left for a step to begin, 10 by default
set -uo pipefail
cd "$(dirname "$0")/../.."

out=${1:?where to}; total=${2:-540} least=${LEAST:-10}
device=${DEVICE:-cuda} python=${PYTHON:-python3}
read -r -a quick <<<"${QUICK:-}"
mkdir -p "$out"
table=$out/steps.txt
printf '%-14s %6s %8s  %s\n' step code seconds last > "$table"

# step NAME SECONDS COMMAND...
step() {
  local name=$1 limit=$2 began=$SECONDS code left
  shift 2
  [[ -n ${ONLY:-} && " $ONLY " != *" $name "* ]] && return
  left=$((total - SECONDS))
  if ((left < least)); then
    printf '%-14s %6s %8s  %s\n' "$name" - - "no time left" >> "$table"
    return
  fi
  timeout --kill-after=10 "$((limit < left ? limit : left))" "$@" > "$out/$name.log" 2>&1
  code=$?
  printf '%-14s %6s %8s  %s\n' "$name" "$code" "$((SECONDS - began))" "$(grep -v '^ *$' "$out/$name.log" | tail -1 | cut -c1-70)" >> "$table"
}

attnbench() { echo "$python" -m attnbench "$@"; }

# run NAME SECONDS SUITE OPTIONS...: a run that is kept
run() {
  local name=$1 limit=$2 suite=$3
  shift 3
  # shellcheck disable=SC2046 - words of a command
  step "$name" "$limit" $(attnbench run) "$suite" --set "device=$device" --output "$out/$name" "${quick[@]}" "$@"
  keep "$name"
}

# keep NAME: what others may want to look at, without raw samples
keep() {
  local machine
  [[ -f $out/$1/table.csv ]] || return
  machine=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["machine"])' "$out/$1/environment.json") || return
  mkdir -p "$out/reference/$machine/$1"
  cp "$out/$1/"{table.csv,table.parquet,environment.json,suite.yaml} "$out/reference/$machine/$1/" 2>/dev/null
}

# shellcheck disable=SC2046
{
  step doctor 60 $(attnbench doctor) --device "$device"
  step verify 300 $(attnbench verify) --device "$device" --export "json=$out/verify.json"
  step gpu-tests 240 "$python" -m pytest -q -p no:randomly -m gpu tests/test_gpu.py
  step backends 240 "$python" -m pytest -q -p no:randomly -m gpu tests/test_testing.py
  step agreement 120 "$python" tests/benchmarks/agreement.py
  # Which float32 kernels keep to the bound as windows grow.
  run window_sweep 180 window_sweep --quick --backend naive --backend sdpa --backend sdpa_efficient --set measure.max_time_s=0.05
  run quick 240 quick
  run quick-hot 120 quick --quick --set measure.cache=hot
  run quick-graph 120 quick --quick --set measure.launch=graph
  run twins_svt_s 240 twins_svt_s --quick
  step ab 240 $(attnbench ab) quick --set "device=$device" --base-backend sdpa --candidate-backend sdpa_5d --output "$out/ab"
  step noise 240 $(attnbench noise) quick --set "device=$device" --backend sdpa --backend naive --pairs 5 --output "$out/noise"
}
cat "$table"
