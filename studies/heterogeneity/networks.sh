#!/usr/bin/env bash
# The networks of the study: one per seed, background tuned to recorded spontaneous rates. About 10 minutes each on one core.
set -euo pipefail
cd "$(dirname "$0")"
first=${1:-1}
last=${2:-12}
for seed in $(seq "$first" "$last"); do
  [ -d "networks/seed-$seed" ] && continue
  [ -d "networks/built-$seed" ] || v1builder build --radius 100 --seed "$seed" --recipe column.toml --out "networks/built-$seed"
  v1builder calibrate "networks/built-$seed" --seconds 24 --trials 2 --tolerance 0.1 --out "networks/seed-$seed"
  rm -r "networks/built-$seed"
done
