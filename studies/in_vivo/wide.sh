#!/usr/bin/env bash
# A column of 400 um on one GPU: times ten steps first, then trains for as long as the argument says (minutes).
# Build the column where there is a CPU and time for it:
#   v1builder build --radius 400 --seed 1 --out networks/wide-1
set -euo pipefail
cd "$(dirname "$0")"
minutes=${1:-15}
out=${2:-results/wide}

sed 's/^steps = .*/steps = 12/; s/^validate_every = .*/validate_every = 12/; s/^validation_trials = .*/validation_trials = 8/; s/^test_trials = .*/test_trials = 8/' \
  wide.toml > wide-timed.toml
python timed.py wide-timed.toml "$out-timed" | tee "$out-timed.txt"
step=$(sed -n 's/^seconds per step: //p' "$out-timed.txt")
steps=$(python -c "print(max(20, int(60 * $minutes / $step)))")
echo "$step s per step: $steps steps in $minutes minutes"
sed "s/^steps = .*/steps = $steps/" wide.toml > wide-long.toml
v1builder train wide-long.toml --out "$out" --accelerator cuda
v1builder judge "$out" --out "$out/judge.md"
