"""Every agreement with other software, as the table states it."""

import pytest

from v1builder.verify import all_cases


def parameters():
    for one in all_cases():
        marks = [pytest.mark.slow] if one.slow else []
        marks += [pytest.mark.nest] if "nest" in one.needs else []
        yield pytest.param(one, id=one.name, marks=marks)


@pytest.mark.parametrize("one", list(parameters()))
def test_agreement(one, tmp_path, record_property):
    found = one(tmp_path)
    if found.passed is None:
        pytest.skip(found.result)
    record_property("result", found.result)
    assert found.passed, f"{found.result}: {found.value} (limit {found.limit})"
