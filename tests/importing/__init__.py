"""What other trackers wrote, for tests of `forgelog.importing`.

`mlflow.sql`: the tables of runs and models of a database that mlflow-skinny 3.17.2 made: experiment 1 ``digits`` with
the runs `FIRST` (which reads the dataset ``digits``), `CHILD` (of `FIRST`) and `GONE` (deleted), the logged model `NET`
of `CHILD`, and the registered model ``digits`` with the versions 1 (stage Production, alias champion), 2 (deleted) and
3 (alias next, of `NET`).

`tensorboard`: event files. That of ``keras/train`` was written by tensorboard 2.21 in TensorFlow 2's form (tensors,
plugins, hyperparameters), that of ``torch`` by tensorboardX 2.6, as PyTorch's writer does.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

FOLDER = Path(__file__).parent
FIRST, CHILD, GONE = (
    "aeefd92324204fa8815641d36e455648",
    "5e34e0df027b4caa8e4349eccd48319b",
    "0e35eabae3364b5aa9d5a89c94a42e6b",
)
NET = "m-25c7f8e4d99b4c1db9e340fbae79bf0e"


def database(path: Path) -> Path:
    """The database in a file."""
    connection = sqlite3.connect(path)
    connection.executescript((FOLDER / "mlflow.sql").read_text())
    connection.close()
    return path


def artifacts(folder: Path) -> Path:
    """Files of its runs and models, in a folder as MLflow lays them."""
    for path, content in (
        (f"1/{FIRST}/artifacts/model/net.bin", "first"),
        (f"1/models/{NET}/artifacts/net.bin", "net"),
    ):
        file = folder / path
        file.parent.mkdir(parents=True)
        file.write_text(content)
    return folder
