"""Many blocks of work, on one processor, several, or a cluster, with the same bits on each."""

from trivium.parallel.dask_executor import DaskExecutor
from trivium.parallel.executor import Executor, Progress, SerialExecutor
from trivium.parallel.given import given_executor
from trivium.parallel.joblib_executor import JoblibExecutor
from trivium.parallel.journal import BlockJournal
from trivium.parallel.open import EXECUTORS, open_executor

__all__ = [
    "EXECUTORS",
    "BlockJournal",
    "DaskExecutor",
    "Executor",
    "JoblibExecutor",
    "Progress",
    "SerialExecutor",
    "given_executor",
    "open_executor",
]
