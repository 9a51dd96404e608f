"""The order of the sections; what is absent is left out and named among the limitations."""

from __future__ import annotations

from resilience.reporting.draft import Draft
from resilience.reporting.material import Material
from resilience.reporting.model_words import of_marks
from resilience.reporting.rules import rules_applied
from resilience.reporting.section_checks import write_checks
from resilience.reporting.section_closing import (
    write_annex,
    write_limitations,
    write_provenance,
    write_sources,
)
from resilience.reporting.section_data import write_data, write_purpose
from resilience.reporting.section_index import write_context_figure, write_index
from resilience.reporting.section_lists import write_lists
from resilience.reporting.section_marks import write_marks_model
from resilience.reporting.section_model import write_effects, write_model
from resilience.reporting.section_rules import write_rules

__all__ = ["compose"]


def compose(draft: Draft, material: Material) -> None:
    """Write all sections that the material allows."""
    rules = () if material.found is None else rules_applied(material.found, draft.lang)
    write_purpose(draft, material)
    write_data(draft, material)
    if material.va is not None:
        if of_marks(material.va):
            write_marks_model(draft, material)
        else:
            write_model(draft, material)
        write_effects(draft, material)
    if material.index is not None:
        write_index(draft, material)
        if material.has_context_figure:
            write_context_figure(draft, material)
    if rules:
        write_rules(draft, rules)
        write_lists(draft, material, rules)
        write_checks(draft, material, rules)
    write_limitations(draft, material, rules)
    write_sources(draft)
    write_provenance(draft, material.provenance)
    write_annex(draft, material, rules)
