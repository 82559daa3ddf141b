"""Records that one command writes and another reads: damage is said, wherever it is."""

import json
import os

import pytest

from v1builder.schema.errors import NetworkError, StorageError
from v1builder.schema.records import read_json, read_record, write_record

RECORD = {"score": 0.8125, "curve": [[0, 0.5], [10, 0.75]], "name": "a", "none": None}


def test_a_record_comes_back(tmp_path):
    write_record(tmp_path / "r.json", RECORD)
    assert read_record(tmp_path / "r.json", fix="again") == RECORD


def test_a_flipped_bit_is_said_or_changes_nothing(tmp_path):
    path = tmp_path / "r.json"
    write_record(path, RECORD)
    whole = path.read_bytes()
    refused = 0
    for bit in range(0, len(whole) * 8, 5):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            found = read_record(path, fix="again", keys=RECORD)
        except StorageError as error:
            refused += "r.json" in str(error) and "again" in str(error)
        else:
            assert {key: found[key] for key in RECORD} == RECORD
    assert refused > len(whole)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "damaged"),
        ("[]", "list"),
        ("{", "damaged"),
        ("[" * 100_000, "damaged"),
        ('{"score": 1}', "without curve"),
        ("\udcff", "damaged"),
    ],
)
def test_what_is_no_record_is_said(tmp_path, text, said):
    path = tmp_path / "r.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(StorageError, match=said):
        read_record(path, fix="again", keys=("score", "curve"))


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, said in (("pipe", "pipe"), ("nowhere", "no such file"), (".", "folder")):
        with pytest.raises(NetworkError, match=said):
            read_json(tmp_path / name, fix="again", error=NetworkError)


def test_a_record_of_an_earlier_version_is_read(tmp_path):
    (tmp_path / "r.json").write_text(json.dumps(RECORD))
    assert read_record(tmp_path / "r.json", fix="again") == RECORD
