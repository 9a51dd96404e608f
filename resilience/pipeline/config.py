"""The configuration of an annual run, from ``region.toml`` or from the methodologist's workbook."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from resilience.i18n import Language

if TYPE_CHECKING:
    from resilience.data.workbook import WorkbookContents

__all__ = [
    "CHECKS",
    "Check",
    "IndexConfig",
    "InputsConfig",
    "ModelConfig",
    "OutputConfig",
    "RegionConfig",
    "RuleConfig",
    "Sheets",
    "config_from_workbook",
]

ModelKind = Literal["auto", "pupils", "counts", "means", "mixture"]
SourceKind = Literal["pupils", "counts", "means", "share", "none"]
Method = Literal["reml", "ml"]
Composition = Literal["latent", "mean", "leave_one_out"]
Missing = Literal["raise", "drop", "indicator"]
IndexKind = Literal["policy", "supervised", "equal", "pca"]
WeightsMode = Literal["previous_years", "cross_fitted"]
Transform = Literal["share", "logit", "arcsine"]
Check = Literal["sensitivity", "rule_errors", "status", "early_warning", "integrity"]
Sheets = Literal["listed", "all", "none"]
CHECKS: tuple[Check, ...] = get_args(Check)


@dataclass(frozen=True, kw_only=True)
class InputsConfig:
    """Where the data lie: exactly one of a data set, a workbook, or files of tables.

    Attributes
    ----------
    dataset : str or None
        Name of an embedded data set.
    workbook : Path or None
        Filled-in workbook.
    schools, pupils, counts, means, procedures, score_histograms : Path or None
        Delimited files of the binding tables.
    """

    dataset: str | None = None
    workbook: Path | None = None
    schools: Path | None = None
    pupils: Path | None = None
    counts: Path | None = None
    means: Path | None = None
    procedures: Path | None = None
    score_histograms: Path | None = None

    @property
    def tables(self) -> dict[str, Path]:
        """Files of tables by the name of the table."""
        names = ("schools", "pupils", "counts", "means", "procedures", "score_histograms")
        return {n: path for n in names if (path := getattr(self, n)) is not None}


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """How school effects are estimated.

    Attributes
    ----------
    kind : {"auto", "pupils", "counts", "means", "mixture"}
        Data the model rests on.  ``auto`` takes pupils linked to an earlier result where there are
        any, otherwise the best data there are for each procedure; ``mixture`` chooses by procedure
        in any case.
    procedures : mapping of {str: "pupils", "counts", "means", "share" or "none"}
        Data to take for a procedure, or for all whose name begins so (``"ВПР-5"``); ``none``
        leaves it out.  Procedures not named are chosen by what is there.
    question : str or None
        Since when a pupil model counts the school's part: ``"since_entry"``, ``"since_grade_4"``,
        ``"last_year"``; ``None`` reads it off the formula.
    formula : str or None
        Formula; ``None`` leaves the choice to the run, which says what it took.
    composition : mapping of {column: "latent", "mean" or "leave_one_out"}
        School means of intake added to a pupil model.
    slopes : tuple of str
        Terms of a pupil model whose effect differs between schools.
    subjects : tuple of str
        Subjects of the pupil file to use; empty means all.
    missing : {"raise", "drop", "indicator"}
        Gaps in the pupil file.
    outcome_procedure : str or None
        Kind of procedure that results of pupils and means in the table of schools come from
        (``"ОГЭ"``, ``"ВПР-8"``); with the subject it names the procedure whose date of
        availability decides.
    correlation : float
        Correlation of one pupil's results in two procedures, in [0, 1); for counts and mixtures.
    n, variance : str or None
        Columns of pupils and of sampling variances; for means of the table of schools.
    sd : float, str or None
        SD of pupils within schools: a number, a column, or ``"estimate"``; for means with ``n``.
    method : {"reml", "ml"}
        Criterion.
    """

    kind: ModelKind = "auto"
    procedures: Mapping[str, SourceKind] = field(default_factory=dict)
    question: str | None = None
    formula: str | None = None
    composition: Mapping[str, Composition] = field(default_factory=dict)
    slopes: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    missing: Missing = "raise"
    outcome_procedure: str | None = None
    correlation: float = 0.5
    n: str | None = None
    sd: float | str | None = None
    variance: str | None = None
    method: Method = "reml"


@dataclass(frozen=True, kw_only=True)
class IndexConfig:
    """How the context index is made.

    Attributes
    ----------
    kind : {"policy", "supervised", "equal", "pca"}
        Source of the weights.
    inputs : tuple of str
        Columns of the table of schools; for ``policy`` those of ``weights``.
    weights : mapping of str to float
        Signed weights of ``policy``, plus = favourable; empty otherwise.
    mode : {"previous_years", "cross_fitted"} or None
        Whose results the weights of ``supervised`` may depend on.
    outcome : str or None
        Column of school results, for ``supervised``; ``"mean_mark"`` is formed from the counts.
    outcome_sd : float
        SD of pupils within a school in units of the outcome, for ``supervised``.
    folds : int
        Folds of schools, for ``supervised``.
    directions : mapping of str to {-1, 1}
        Declared signs.
    transform : {"share", "logit", "arcsine"}
        Scale on which shares enter.
    """

    kind: IndexKind
    inputs: tuple[str, ...]
    weights: Mapping[str, float] = field(default_factory=dict)
    mode: WeightsMode | None = None
    outcome: str | None = None
    outcome_sd: float = 1.0
    folds: int = 5
    directions: Mapping[str, int] = field(default_factory=dict)
    transform: Transform = "share"


@dataclass(frozen=True, kw_only=True)
class RuleConfig:
    """One rule, or all rules of a criteria file.

    Attributes
    ----------
    preset : str or None
        Id of a preset rule.
    file : Path or None
        Criteria file; exactly one of the two is set.
    amend : mapping of {criterion: {field: value}}
        Changes, as `Criteria.amend` takes them.
    procedures : tuple of str
        Procedures of share criteria; empty leaves the rule's own.
    """

    preset: str | None = None
    file: Path | None = None
    amend: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    procedures: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """What is written, and for which day.

    Attributes
    ----------
    region : str or None
        Name of the region in the appendix.
    as_of : date or None
        Day of the list: results available later are withheld; ``None`` withholds nothing.
    lang : {"en", "ru"}
        Language of tables, figures and appendix.
    figures : bool
        Whether to draw figures.
    seed : int
        Seed of every draw.
    checks : tuple of {"sensitivity", "rule_errors", "status", "early_warning", "integrity"}
        What is computed beside the verdicts where the data allow it: how the index depends on its
        weights; how often rules on counts err by chance; the lists of earlier years; who will be
        listed next year; signs in the scores.
    sheets : {"listed", "all", "none"}
        Schools that get a calculation sheet.
    """

    region: str | None = None
    as_of: dt.date | None = None
    lang: Language = "en"
    figures: bool = True
    seed: int = 0
    checks: tuple[Check, ...] = CHECKS
    sheets: Sheets = "listed"


@dataclass(frozen=True, kw_only=True)
class RegionConfig:
    """The configuration of one annual run.

    Attributes
    ----------
    source : str
        Name of the file it was read from, without its folder; empty for one made in code.
    shipped : bool
        Whether it came with the library, for an embedded data set.
    inputs, model, output : InputsConfig, ModelConfig, OutputConfig
        Tables of the same names.
    index : IndexConfig or None
        Context index; ``None`` for a run without one.
    rules : tuple of RuleConfig
        At least one: a rule is always named.
    """

    source: str = ""
    shipped: bool = False
    inputs: InputsConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    index: IndexConfig | None = None
    rules: tuple[RuleConfig, ...]
    output: OutputConfig = field(default_factory=OutputConfig)

    @property
    def as_of(self) -> dt.date | None:
        """Day of the list."""
        return self.output.as_of

    def settings(self) -> tuple[tuple[str, str], ...]:
        """Return every setting as text, those left at their default included, without folders."""
        found: list[tuple[str, str]] = []
        parts: list[tuple[str, object]] = [("inputs", self.inputs), ("model", self.model)]
        parts += [("index", self.index)] if self.index else []
        parts += [(f"rules[{i}]", rule) for i, rule in enumerate(self.rules, start=1)]
        parts += [("output", self.output)]
        for name, part in parts:
            for f in fields(part):  # type: ignore[arg-type]  # each part is a dataclass
                found.append((f"{name}.{f.name}", _printed(getattr(part, f.name))))
        return tuple(found)

    def command(self) -> str:
        """Return the command that repeats the run; empty for a configuration made in code."""
        if self.shipped:
            return f"resilience demo --dataset {Path(self.source).stem}"
        return f"resilience run {self.source}" if self.source else ""


def _printed(value: object) -> str:
    if value is None or value in ((), {}):
        return "—"
    if isinstance(value, Path):
        return value.name
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {_nested(item)}" for key, item in value.items())
    if isinstance(value, tuple):
        return ", ".join(_printed(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _nested(value: object) -> str:
    return f"({_printed(value)})" if isinstance(value, Mapping) else _printed(value)


def config_from_workbook(contents: WorkbookContents) -> RegionConfig:
    """Return the configuration that the settings of a workbook stand for.

    The low-result rule comes with the connective chosen there and with its pooled companion; with
    a context index the rules on adverse context and resilience are added, their share of adverse
    schools as set.

    Parameters
    ----------
    contents : WorkbookContents
        As `read_workbook` returns them.

    Returns
    -------
    RegionConfig
    """
    chosen = contents.settings
    rules: list[RuleConfig] = []
    if len(contents.counts):
        preset = f"low_results_2025_{chosen.connective}"
        # the official verdict and, beside it, what all counts together make probable
        rules += [
            RuleConfig(preset=name, procedures=chosen.procedures)
            for name in (preset, "low_posterior_pooled")
        ]
    index = _index_of(contents)
    if index is not None or not rules:
        share = chosen.adversity_quantile
        amend: dict[str, dict[str, object]] = {}
        if share is not None:
            amend = {"adversity": {"at_most": share}}
        names = ("adverse_context", "resilient_posterior")
        rules += [RuleConfig(preset=name, amend=amend) for name in names]
    return RegionConfig(
        source=contents.source,
        inputs=InputsConfig(workbook=Path(contents.source)),
        index=index,
        rules=tuple(rules),
        output=OutputConfig(
            region=chosen.region,
            as_of=chosen.as_of,
            lang="ru" if chosen.lang == "ru" else "en",
        ),
    )


def _index_of(contents: WorkbookContents) -> IndexConfig | None:
    chosen = contents.settings
    weights = dict(chosen.weights)
    signs = {name: 1 if weight > 0 else -1 for name, weight in weights.items()}
    inputs = tuple(weights)
    if chosen.index_method == "policy":
        # A sign against the documented one must be confirmed; typed by hand it is not.
        return IndexConfig(kind="policy", inputs=inputs, weights=weights)
    if chosen.index_method == "equal":
        return IndexConfig(kind="equal", inputs=inputs, directions=signs)
    if chosen.index_method == "supervised":
        return IndexConfig(
            kind="supervised",
            inputs=inputs,
            mode="previous_years",
            outcome="mean_score",
            directions=signs,
        )
    return None
