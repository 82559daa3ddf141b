#!/usr/bin/env bash
# The tasks of the battery at their published difficulty, in a column of 400 um (66 669 cells) on one GPU.
# Build the column where there is a CPU and time for it:
#   v1builder build --radius 400 --seed 1 --out networks/wide-1
# An interrupted training goes on. Name files to train some of the tasks only: ./wide.sh orientation evidence
set -euo pipefail
cd "$(dirname "$0")"
for task in "${@:-orientation grating_change image_change evidence digits}"; do
  for name in $task; do
    v1builder train "wide/$name.toml" --out "results/wide-$name" --resume
  done
done
