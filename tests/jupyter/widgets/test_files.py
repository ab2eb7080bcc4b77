"""Messages in files."""

import csv
import json
import sys
from datetime import date

import numpy as np
import pandas as pd
import pytest

from berrymq import Bus
from berrymq_jupyter.widgets import MessageLog


class Hostile:
    def __repr__(self):
        raise RuntimeError("no")


@pytest.fixture
def log():
    bus = Bus()
    log = MessageLog("t:*", bus=bus)
    bus.twitter("t:run", 1, loss=0.5, note="=1+1", opts={"a": [1, float("nan")], (1, 2): None})
    bus.twitter("t:end", "-2", np.arange(3), when=date(2026, 1, 2), thing=Hostile())
    yield log
    log.close()


def test_json_lines_have_all(log, tmp_path):
    log.to_file(tmp_path / "log.jsonl")
    first, second = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert (first["id"], first["source"], first["args"]) == ("t:run", None, [1])
    assert first["kwargs"] == {"loss": 0.5, "note": "=1+1", "opts": {"a": [1, None], "(1, 2)": None}}
    assert first["sent_at"].endswith("+00:00")
    assert second["args"] == ["-2", [0, 1, 2]]
    assert second["kwargs"] == {"when": "2026-01-02", "thing": "<Hostile that cannot be shown>"}


def test_a_csv_file_holds_no_formula(log, tmp_path):
    log.to_file(str(tmp_path / "log.csv"))
    with (tmp_path / "log.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["id"], first["arg0"], first["loss"], first["note"]) == ("t:run", "1", "0.5", "'=1+1")
    assert (second["arg0"], second["arg1"], second["loss"]) == ("'-2", "[0, 1, 2]", "")


def test_a_file_of_another_kind_is_refused(log, tmp_path):
    with pytest.raises(ValueError, match=r"\.csv, \.jsonl, \.parquet"):
        log.to_file(tmp_path / "log.xlsx")


def test_nothing_makes_an_empty_table(tmp_path):
    log = MessageLog(bus=Bus())
    log.to_file(tmp_path / "log.csv")
    assert (tmp_path / "log.csv").read_text().strip() == "sent_at,id,source"
    log.close()


def test_parquet_says_what_it_needs(log, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(RuntimeError, match="pip install pyarrow"):
        log.to_file(tmp_path / "log.parquet")


def test_in_parquet_a_column_without_a_type_is_json(tmp_path):
    bus = Bus()
    log = MessageLog("t:*", bus=bus)
    bus.twitter("t:run", 1, loss=0.5, opts={"a": [1, float("nan")], (1, 2): None}, text="\ud800")
    bus.twitter("t:end", "-2", when=date(2026, 1, 2), thing=Hostile(), large=2**70)
    log.to_file(tmp_path / "log.parquet")
    log.close()
    table = pd.read_parquet(tmp_path / "log.parquet")
    assert table["arg0"].tolist() == ["1", '"-2"']
    assert table["loss"][0] == 0.5
    assert table["opts"][0] == '{"a": [1, null], "(1, 2)": null}'
    assert table["when"][1] == date(2026, 1, 2)
    assert table["thing"][1] == '"<Hostile that cannot be shown>"'
    assert table["large"][1] == str(2**70)
    assert table["text"][0] == "\\ud800"
