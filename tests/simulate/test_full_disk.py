"""A simulation whose reports find no room ends with a message, not with a signal."""

import resource

import numpy as np
import pytest

from v1builder.schema.errors import StorageError
from v1builder.simulate.reports import Recording


def recording(path, n_steps, n_cells):
    return Recording(path, "V_m", "mV", np.arange(n_cells), np.arange(n_steps))


@pytest.mark.parametrize("room", [100_000, 600_000])
def test_a_report_without_room_is_refused_before_anything_is_simulated(tmp_path, room):
    """Of 400 kB, which take as much again while they are written."""
    report = recording(tmp_path / "report.h5", 1000, 100)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"report\.h5"), report.on_disk():
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with report.on_disk():
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_cannot_lie_there_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError), recording(tmp_path / "file" / "r.h5", 10, 10).on_disk():
        pass
