"""The history and the log of steps: exact numbers, whole files, resumed in the right place."""

from __future__ import annotations

import math

import pytest

from resnet_torch.__main__ import app
from weight_transfer.errors import TransferError
from weight_transfer.training.history import EpochRow, History, read_history, row_of, write_history
from weight_transfer.training.step_log import StepLog, read_steps

ROWS = (
    EpochRow(1, 2.3025850929940455, 0.1, 40.8726, 1 / 3, 1e-3),
    EpochRow(2, 1.0, 0.5, math.nan, 0.25, 1e-3),
    EpochRow(3, 0.1 + 0.2, 1.0, None, None, 2e-4),
)


def test_numbers_read_back_the_same(tmp_path):
    path = tmp_path / "history.csv"
    write_history(path, History(ROWS))
    lines = path.read_text().splitlines()
    assert lines[0] == "epoch,loss,accuracy,val_loss,val_accuracy,learning_rate"
    assert lines[1] == "1,2.3025850929940455,0.1,40.8726,0.3333333333333333,0.001"
    assert lines[3] == "3,0.30000000000000004,1.0,,,0.0002"
    read = read_history(path)
    assert repr(read) == repr(History(ROWS))


def test_the_best_epoch_is_the_first_of_equals():
    rows = [
        EpochRow(n, 1.0, 0.5, loss, accuracy, 1.0)
        for n, (loss, accuracy) in enumerate([(2, 0.1), (1, 0.3), (1, 0.3)], 1)
    ]
    assert History(tuple(rows)).best("val_loss").epoch == 2
    assert History(tuple(rows)).best("val_accuracy").epoch == 2
    assert History().best() is None


def test_an_epoch_without_a_number_is_never_the_best():
    values = [(math.nan, math.nan), (3, 0.1), (None, None), (2, 0.2), (math.nan, math.nan)]
    rows = tuple(EpochRow(n, 1.0, 0.5, loss, accuracy, 1.0) for n, (loss, accuracy) in enumerate(values, 1))
    for monitor in ("val_loss", "val_accuracy"):
        assert History(rows).best(monitor).epoch == 4
        assert History(rows[:1]).best(monitor) is None


def test_an_epoch_cannot_be_left_out_or_come_twice():
    history = History(ROWS[:2])
    for epoch in (2, 4):
        with pytest.raises(TransferError, match=f"Expected the next. Received: {epoch}"):
            history.added(EpochRow(epoch, 1, 1, 1, 1, 1))
    assert len(history.added(ROWS[2]).upto(2)) == 2


@pytest.mark.parametrize(
    "text",
    [
        "epoch,loss\n1,2\n",
        "epoch,loss,accuracy,val_loss,val_accuracy,learning_rate\n1,,0.1,1,1,1\n",
        "epoch,loss,accuracy,val_loss,val_accuracy,learning_rate\n1,0.1,0.1\n",
        "epoch,loss,accuracy,val_loss,val_accuracy,learning_rate\n2,1,1,1,1,1\n",
    ],
)
def test_what_is_no_history_is_refused(tmp_path, text):
    (tmp_path / "history.csv").write_text(text)
    with pytest.raises(TransferError, match=r"history.csv: (not a history|its epochs are not)"):
        read_history(tmp_path / "history.csv")


def test_a_missing_history_is_no_history_in_plain_words(tmp_path):
    with pytest.raises(
        TransferError, match=r"gone: cannot be read \(No such file or directory\). Expected a run folder"
    ):
        read_history(tmp_path / "gone")


def test_rows_of_what_keras_logs():
    logs = {"loss": 1, "accuracy": 0.5, "val_loss": 2.5, "val_accuracy": 0.25, "learning_rate": 7}
    assert row_of(4, logs, 1e-3) == EpochRow(4, 1.0, 0.5, 2.5, 0.25, 1e-3)
    assert row_of(1, {"loss": 1, "accuracy": 0.5}, 1e-3).val_loss is None


def test_steps_go_on_after_the_epochs_that_are_done(tmp_path):
    path = tmp_path / "steps.csv"
    log = StepLog(path)
    for epoch in (1, 2, 3):
        for _ in range(2):
            log.add(epoch, epoch / 3, 1e-3)
        log.flush()
    again = StepLog(path, epochs_before=2)  # the third epoch was cut off by a kill
    again.add(3, 0.5, 1e-4)
    again.flush()
    rows = read_steps(path)
    assert [(row.step, row.epoch) for row in rows] == [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)]
    assert rows[2].loss == 2 / 3
    StepLog(path)  # a new run
    assert read_steps(path) == []


def test_steps_refuse_another_file(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(TransferError, match="not a log of steps"):
        StepLog(tmp_path / "a.csv", epochs_before=1)
    (tmp_path / "columns.csv").write_text("a,b\n")
    (tmp_path / "best.safetensors").write_bytes(b"\xff\x00weights")
    for name in ("a.csv", "columns.csv", "best.safetensors"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(TransferError, match=r"not a log of steps .* It would be replaced: name another file"):
            StepLog(tmp_path / name)
        with pytest.raises(TransferError, match="It would be replaced"):
            app.main(
                ["train", "--data", "d.npz", "-o", str(tmp_path / "run"), "--log-steps", str(tmp_path / name)],
                standalone_mode=False,
            )
        assert (tmp_path / name).read_bytes() == before
    assert not (tmp_path / "run").exists()
    with pytest.raises(TransferError, match="cannot be written"):
        StepLog(tmp_path / "no" / "a.csv")
