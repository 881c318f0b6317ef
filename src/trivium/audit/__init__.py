"""The main job: a second opinion on labeled data, stage by stage."""

from trivium.audit.costs import Costs, read_costs
from trivium.audit.depend_plot import check_plot, write_plot
from trivium.audit.depend_verb import Dependence, depend_only
from trivium.audit.figure_file import check_figure, write_figure
from trivium.audit.files import spare_input
from trivium.audit.gate import DEPEND_QUANTITIES, QUANTITIES, Gate, parse_gate
from trivium.audit.gradient_problems import PROBLEMS
from trivium.audit.gradients_verb import Gradients, GradientsOptions, gradients_only
from trivium.audit.options import METRICS, AuditOptions, DependOptions, Screening
from trivium.audit.predict_verb import predict_files
from trivium.audit.run import STAGES, AuditResult, audit
from trivium.audit.saved import SavedClassifier, load_classifier
from trivium.audit.verbs import (
    audit_demo,
    catalog,
    explain_run,
    fit_only,
)
from trivium.audit.whatif import whatif

__all__ = [
    "DEPEND_QUANTITIES",
    "METRICS",
    "PROBLEMS",
    "QUANTITIES",
    "STAGES",
    "AuditOptions",
    "AuditResult",
    "Costs",
    "DependOptions",
    "Dependence",
    "Gate",
    "Gradients",
    "GradientsOptions",
    "SavedClassifier",
    "Screening",
    "audit",
    "audit_demo",
    "catalog",
    "check_figure",
    "check_plot",
    "depend_only",
    "explain_run",
    "fit_only",
    "gradients_only",
    "load_classifier",
    "parse_gate",
    "predict_files",
    "read_costs",
    "spare_input",
    "whatif",
    "write_figure",
    "write_plot",
]
