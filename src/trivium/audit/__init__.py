"""The main job: a second opinion on labelled data, stage by stage."""

from trivium.audit.costs import Costs, read_costs
from trivium.audit.depend_plot import check_plot, write_plot
from trivium.audit.depend_verb import Dependence, depend_only
from trivium.audit.files import spare_input
from trivium.audit.gate import DEPEND_QUANTITIES, QUANTITIES, Gate, parse_gate
from trivium.audit.options import METRICS, AuditOptions, DependOptions, Screening
from trivium.audit.run import STAGES, AuditResult, audit
from trivium.audit.saved import SavedClassifier, load_classifier
from trivium.audit.verbs import (
    audit_demo,
    catalog,
    explain_run,
    fit_only,
    predict_file,
)
from trivium.audit.whatif import whatif

__all__ = [
    "DEPEND_QUANTITIES",
    "METRICS",
    "QUANTITIES",
    "STAGES",
    "AuditOptions",
    "AuditResult",
    "Costs",
    "DependOptions",
    "Dependence",
    "Gate",
    "SavedClassifier",
    "Screening",
    "audit",
    "audit_demo",
    "catalog",
    "check_plot",
    "depend_only",
    "explain_run",
    "fit_only",
    "load_classifier",
    "parse_gate",
    "predict_file",
    "read_costs",
    "spare_input",
    "whatif",
    "write_plot",
]
