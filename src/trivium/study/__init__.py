"""The study of position encodings: one small decoder, every encoding, real text and five tasks."""

from trivium.study.decoder import Decoder, build_encoding
from trivium.study.presets import FULL, QUICK, Preset, contestants
from trivium.study.result import StudyResult
from trivium.study.runs import Job, run_job
from trivium.study.study import position_study
from trivium.study.tasks import TASKS
from trivium.study.text import StudyText, read_study_text

__all__ = [
    "FULL",
    "QUICK",
    "TASKS",
    "Decoder",
    "Job",
    "Preset",
    "StudyResult",
    "StudyText",
    "build_encoding",
    "contestants",
    "position_study",
    "read_study_text",
    "run_job",
]
