import subprocess
import sys


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_verbs_stay_functions_after_their_packages_were_imported():
    code = """
import v1builder
import v1builder.build.cells, v1builder.load.reader, v1builder.fetch, v1builder.train.loop
import v1builder.simulate
for name in v1builder.__all__:
    assert callable(getattr(v1builder, name)), name
from v1builder import build, load
assert callable(build) and callable(load)
try:
    v1builder.nothing
except AttributeError as error:
    assert "nothing" in str(error)
else:
    raise AssertionError
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_fetching_and_building_import_no_torch():
    code = """
import sys
import v1builder.cli, v1builder.pipeline, v1builder.fetch, v1builder.curate, v1builder.load
v1builder.build, v1builder.fetch
assert "torch" not in sys.modules
"""
    done = run(code)
    assert done.returncode == 0, done.stderr
