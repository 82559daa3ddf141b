#!/bin/sh
# Everything that is worth knowing of a CUDA device, within ten minutes: the tests that need it, rollouts of
# random networks, training steps of built columns with their task. Writes OUT/gpu_all.json and OUT/gpu_all.md.
#
#     PYTHON=.venv/bin/python sh benchmarks/gpu_all.sh OUT
#
# Every part has its own limit and leaves its lines in OUT/*.txt, so that what one of them cannot finish takes
# nothing from the others.
set -u
out=${1:?"the folder to write"}
python=${PYTHON:-python}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$here/.." || exit 1

part() { # name, seconds, command
    name=$1 limit=$2
    shift 2
    begin=$(date +%s)
    timeout "$limit" "$@" >"$out/$name.txt" 2>&1
    echo "$? $(($(date +%s) - begin))" >"$out/$name.status"
    tail -n 3 "$out/$name.txt"
}

columns() {
    for radius in 100 400; do
        "$python" -c "import v1builder; v1builder.build('$out/net-$radius', radius=$radius, seed=1, overwrite=True)" &&
            "$python" benchmarks/step.py "$out/net-$radius" --accelerator cuda --batch "$1" --repeats 3 \
                --out "$out/step-$radius.json"
    done
}

# The same measures of the same trials on both devices: rates to be compared, and what each takes.
measures() {
    for accelerator in cpu cuda; do
        begin=$(date +%s)
        "$python" -m v1builder measure "$out/net-100" --task orientation_discrimination --trials 32 --overwrite \
            --select mean_rate --select fano_factor --accelerator $accelerator --out "$out/measures-$accelerator.csv" &&
            echo "$accelerator $(($(date +%s) - begin)) s" &&
            grep ",network," "$out/measures-$accelerator.csv"
    done
}

if [ "${2:-}" = columns ]; then
    columns 4
    exit
elif [ "${2:-}" = measures ]; then
    measures
    exit
fi
part tests 150 "$python" -m pytest -q -m "gpu or not gpu" tests/model/test_triton.py -k "on_a_gpu or same_bytes" -p no:cacheprovider
part rollouts 180 "$python" benchmarks/gpu.py --cells 1000 10000 66000 --steps 500 --repeats 3 --out "$out/rollouts.json"
part columns 180 sh "$here/gpu_all.sh" "$out" columns
part measures 60 sh "$here/gpu_all.sh" "$out" measures
"$python" "$here/gpu_page.py" "$out"
