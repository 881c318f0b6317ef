"""The main job: a second opinion on labelled data, stage by stage."""

from trivium.audit.files import spare_input
from trivium.audit.gate import QUANTITIES, Gate, parse_gate
from trivium.audit.options import METRICS, AuditOptions
from trivium.audit.run import STAGES, AuditResult, audit
from trivium.audit.saved import SavedClassifier, load_classifier
from trivium.audit.verbs import (
    audit_demo,
    catalog,
    depend_only,
    explain_run,
    fit_only,
    predict_file,
)
from trivium.audit.whatif import whatif

__all__ = [
    "METRICS",
    "QUANTITIES",
    "STAGES",
    "AuditOptions",
    "AuditResult",
    "Gate",
    "SavedClassifier",
    "audit",
    "audit_demo",
    "catalog",
    "depend_only",
    "explain_run",
    "fit_only",
    "load_classifier",
    "parse_gate",
    "predict_file",
    "spare_input",
    "whatif",
]
