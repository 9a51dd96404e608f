"""From a configuration to the objects of the run: index, rules, whether effects are needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resilience.context import ContextIndex, ContextIndexResults
from resilience.detection import Criteria
from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.pipeline.config import IndexConfig, RegionConfig, RuleConfig
from resilience.pipeline.inputs import Region

__all__ = ["build_index", "build_rules", "needs_effects"]

EFFECT_COLUMNS = ("effect", "conf_low", "conf_high", "rank_expected", "p_above_zero")


def build_index(config: RegionConfig, region: Region) -> ContextIndexResults | None:
    """Fit the context index of the configuration; None where it names none."""
    if config.index is None:
        return None
    index = _context_index(config.index)
    return index.fit(region.schools, random_state=config.output.seed)


def _context_index(chosen: IndexConfig) -> ContextIndex:
    common: dict[str, Any] = {
        "directions": dict(chosen.directions) or None,
        "transform": chosen.transform,
    }
    if chosen.kind == "policy":
        return ContextIndex.policy(dict(chosen.weights), **common)
    if chosen.kind == "equal":
        return ContextIndex.equal(list(chosen.inputs), **common)
    if chosen.kind == "pca":
        return ContextIndex.pca(list(chosen.inputs), **common)
    if chosen.outcome is None or chosen.mode is None:
        raise SpecificationError(text("pipeline.supervised"))
    return ContextIndex.supervised(
        list(chosen.inputs),
        outcome=chosen.outcome,
        weights=chosen.mode,
        folds=chosen.folds,
        outcome_sd=chosen.outcome_sd,
        **common,
    )


def build_rules(config: RegionConfig) -> tuple[Criteria, ...]:
    """Return the rules of the configuration, amended as it says."""
    rules: list[Criteria] = []
    for chosen in config.rules:
        found = (
            (Criteria.preset(chosen.preset),)
            if chosen.preset is not None
            else Criteria.from_toml(chosen.file or "")
        )
        rules += [_amended(rule, chosen) for rule in found]
    return tuple(rules)


def _amended(rule: Criteria, chosen: RuleConfig) -> Criteria:
    known = {c.name for c in rule.criteria} | {rule.id}
    single = chosen.preset is not None
    for name, bounds in chosen.amend.items():
        # a file may hold several rules: a change goes to those that have the criterion
        if single or name in known:
            rule = rule.amend(name, **_plain(bounds))
    if chosen.procedures and any(c.column == "share_below_minimum" for c in rule.criteria):
        rule = rule.amend(rule.id, procedures=tuple(chosen.procedures))
    return rule


def _plain(bounds: Mapping[str, object]) -> dict[str, object]:
    return {str(k): v for k, v in bounds.items()}


def needs_effects(config: RegionConfig) -> bool:
    """Return whether any rule reads effects, or a model was asked for by name."""
    if config.model.kind != "auto" or config.model.formula is not None:
        return True
    rules = build_rules(config)
    return any(c.column in EFFECT_COLUMNS for rule in rules for c in rule.criteria)
