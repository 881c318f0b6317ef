"""Stage "plan": what the later stages will do and take, beside what happened in the end."""

from collections.abc import Mapping

from trivium._core.counted import counted
from trivium.audit.large_plan import large_choices
from trivium.audit.plan import Plan, make_plan
from trivium.audit.plan_choice import choices
from trivium.audit.plan_clock import PlanClock
from trivium.audit.plan_size import TableSize
from trivium.audit.plan_work import total_count
from trivium.audit.state import AuditState, Section
from trivium.dependence.screen import MOST_ROWS
from trivium.dependence.sequence import MOST_ROWS as MOST_TEXTS

__all__ = ["finish_plan", "plan_stage"]


def plan_stage(state: AuditState) -> str:
    """Choose and count; write the section `plan`; return what was done."""
    size = TableSize.of(state.used, state.label, state.options)
    state.plan = plan = make_plan(size, state.options)
    clock = PlanClock.of(state.options.machine)
    stages = [_stage(plan, name, clock) for name in plan.work]
    count = sum(stage["count"] for stage in stages)
    state.report["plan"] = {
        "budget": state.options.budget,
        "choice": choices(plan, state.used, state.options),
        "machine": clock.described(),
        "stages": stages,
        "count": count,
        **_sums(stages),
    }
    if state.large is not None:
        state.report["plan"]["choice"] = large_choices(state) + state.report["plan"]["choice"]
    _warn_of_budget(state, plan)
    made = len(state.report["plan"]["choice"])
    return f"{counted(made, 'choice')} by counts, {count:.1e} multiply-adds in all"


def _stage(plan: Plan, name: str, clock: PlanClock) -> Section:
    low, middle, high = clock.seconds(plan.work[name])
    return {
        "name": name,
        "count": total_count(plan.work[name]),
        "predicted_seconds": middle,
        "predicted_low": low,
        "predicted_high": high,
        "predicted_bytes": plan.growth[name],
        "seconds": None,
        "bytes": None,
    }


def _sums(stages: list[Section]) -> Section:
    names = ("predicted_seconds", "predicted_low", "predicted_high", "predicted_bytes")
    sums: Section = {name: sum(stage[name] for stage in stages) for name in names}
    done = all(stage["seconds"] is not None for stage in stages)
    for name in ("seconds", "bytes"):
        sums[name] = sum(stage[name] for stage in stages) if done else None
    return sums


def finish_plan(report: Section) -> None:
    """Write what happened beside what was planned."""
    if "plan" not in report:
        return
    happened: Mapping[str, Section] = {stage["name"]: stage for stage in report["stages"]}
    for stage in report["plan"]["stages"]:
        if stage["name"] in happened:
            stage |= {name: happened[stage["name"]][name] for name in ("seconds", "bytes")}
    report["plan"] |= _sums(report["plan"]["stages"])


def _warn_of_budget(state: AuditState, plan: Plan) -> None:
    """Say where the budget took rows away, or is too small for the least there is."""
    rows = plan.size.rows
    less = []
    if plan.rows.columns < min(MOST_ROWS, rows):
        less.append(f"columns are tested on {counted(plan.rows.columns, 'row')}")
    if plan.size.texts and plan.rows.texts < min(MOST_TEXTS, rows):
        less.append(f"order and distance of words on {counted(plan.rows.texts, 'row')}")
    if not plan.rows.fits:
        less.append("even the least that depend does takes more")
    if less:
        message = f"within {state.options.budget:.2g} multiply-adds {'; '.join(less)}"
        state.warn("W-BUDGET", "stage plan", message)
