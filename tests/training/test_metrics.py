from __future__ import annotations

import io
import json

from rich.console import Console

from clebsch.training.metrics import EpochTable, MetricsFile, read_metrics

RECORD = {
    "epoch": 1, "step": 90, "seconds": 1.5, "lr": 0.01, "train_loss": 12.3456, "valid_loss": 3.21,
    "valid_energy_per_atom_rmse_meV": 1.2345, "valid_forces_rmse_meV_A": 45.678,
}  # fmt: skip


def test_one_json_object_per_line(tmp_path):
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    metrics.append({"epoch": 1, "lr": 0.1})
    metrics.append({"epoch": 2, "lr": 0.2})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == metrics.history == [{"epoch": 1, "lr": 0.1}, {"epoch": 2, "lr": 0.2}]


def test_records_after_the_checkpoint_and_a_torn_line_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"epoch": 1}\n{"epoch": 2}\n{"epoch": 3}\n{"epo')
    metrics = MetricsFile(path, epochs=2)
    metrics.append({"epoch": 3, "again": True})
    assert read_metrics(path) == [{"epoch": 1}, {"epoch": 2}, {"epoch": 3, "again": True}]


def test_a_missing_file_has_no_records(tmp_path):
    assert read_metrics(tmp_path / "absent.jsonl") == []


def test_table_prints_a_header_once_and_rows():
    console = Console(file=io.StringIO(), width=200)
    table = EpochTable(console, interval=0.0)
    table.row(RECORD, best=True)
    table.row({**RECORD, "epoch": 2}, best=False)
    header, first, second = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert " ".join(header.split()) == "epoch train loss valid loss E meV/atom F meV/Å lr seconds"
    assert first.split() == ["1", "12.35", "3.21", "1.234", "45.68", "1.00e-02", "1.5", "*"]
    assert second.split()[0] == "2" and "*" not in second


def test_table_has_the_time_that_is_left():
    console = Console(file=io.StringIO(), width=200)
    table = EpochTable(console, interval=0.0)
    table.row(RECORD, best=True, left=3725.0)
    header, row = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert header.split()[-1] == "left" and row.split()[-2:] == ["1:02:05", "*"]


def test_table_is_quiet_between_its_intervals_and_without_a_console():
    console = Console(file=io.StringIO(), width=200)
    table = EpochTable(console, interval=3600.0)
    for epoch in range(1, 5):
        table.row({**RECORD, "epoch": epoch}, best=False)
        EpochTable(None).row({**RECORD, "epoch": epoch}, best=False)
    assert len(console.file.getvalue().splitlines()) == 2  # type: ignore[attr-defined]
