"""What a value-added model adjusts for and how its parts are tied together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Literal, get_args

from resilience.data.design_formula import unquoted
from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.engine.covariance import COVARIANCES, Covariance
from resilience.validation import check_choice, check_count, check_mapping, check_names
from resilience.value_added.definitions.question import Question, question_of

__all__ = ["Composition", "Intake", "Missing", "Structure"]

Composition = Literal["latent", "mean", "leave_one_out"]
Missing = Literal["raise", "drop", "indicator", "impute"]


@dataclass(frozen=True, kw_only=True)
class Intake:
    """The intake side of the model.

    Attributes
    ----------
    composition : sequence of str or mapping of {column: "latent", "mean" or "leave_one_out"}
        School means of intake to add to the formula as ``<column>_mean``, one per school and year;
        of columns in a sequence the latent ones.
        ``latent`` shrinks the mean by its reliability, so that a school of five pupils does not
        hand its noise to the coefficient; the other two are biased in small schools (for a true
        contextual effect of .40 and schools of 3 to 12 pupils: mean about .26, leave-one-out
        about .21, and a biased within slope for the latter).
    standardize_by : sequence of str
        Standardise the outcome and ``prior`` within these columns (subject, year, grade), over
        pupils, to mean 0 and SD 1.
    prior : sequence of str
        Columns standardised together with the outcome.
    missing : {"raise", "drop", "indicator", "impute"}
        What to do with rows whose used columns have gaps: refuse, drop with a warning that counts
        them, fill numeric covariates with their mean and add a ``<column>_missing`` indicator, or
        fit the model to several completed data sets and pool the fits by Rubin's rules (a table in
        memory and nested levels; see ``resilience.value_added.gaps``).
        A missing outcome or identifier is never filled.
    n_imputations : int
        Completed data sets of ``missing="impute"``, at least 2.
    prior_reliability : float, str or mapping of {column: float or str}, optional
        Share of the observed variance of the prior that is true, in (0, 1], or the name of a column
        of error variances (squared CSEM, in the units of the table); a number or a name stands for
        the columns of ``prior`` in use.  The prior and the latent compositions are then replaced by
        expectations of the true values (regression calibration, see
        ``resilience.value_added.intake.measurement_error``): without it, errors of the prior pass
        for effects of the school's composition.
    within_between : sequence of str
        Columns whose effect is split into that within schools and that between them
        (``results.within_between()``): their plain means are added as compositions
        (Mundlak's device), unless ``composition`` names another mean.
    question : Question or str, optional
        What the effects are meant to answer: ``since_entry``, ``since_grade_5`` or ``last_year``.
        By default ``since_grade`` (grade not stated) where a column of ``prior`` is used, else
        ``since_entry``.
    """

    composition: Mapping[str, Composition] | Sequence[str] = field(default_factory=dict)
    standardize_by: Sequence[str] = ()
    prior: Sequence[str] = ("prior_score",)
    missing: Missing = "raise"
    n_imputations: int = 20
    question: Question | str | None = None
    prior_reliability: float | str | Mapping[str, float | str] | None = None
    within_between: Sequence[str] = ()

    def __post_init__(self) -> None:
        self._settle_composition()
        for field_name, example in (
            ("standardize_by", "standardize_by=['year']"),
            ("prior", "prior=['prior_score']"),
        ):
            given = getattr(self, field_name)
            names = check_names(given, argument=f"Intake.{field_name}", example=example)
            object.__setattr__(self, field_name, tuple(map(unquoted, names)))
        check_choice(self.missing, get_args(Missing), argument="Intake.missing")
        check_count(self.n_imputations, argument="Intake.n_imputations", least=2)
        if self.question is not None:
            question_of(self.question)
        reliability = self.prior_reliability
        for place, value in (
            [(f"[{name!r}]", v) for name, v in reliability.items()]
            if isinstance(reliability, Mapping)
            else [("", reliability)]
        ):
            _check_reliability(value, place)

    def _settle_composition(self) -> None:
        """Keep compositions as a mapping, those of the split within and between among them."""
        given: object = self.composition
        settled: dict[str, Composition] = {}
        if isinstance(given, Mapping | str):
            example = "composition={'prior_score': 'latent'}"
            check_mapping(given, argument="Intake.composition", example=example)
        if isinstance(given, Mapping):
            settled = {unquoted(name): how for name, how in given.items()}
        else:
            example = "composition=['ses'] or composition={'ses': 'latent'}"
            names = check_names(given, argument="Intake.composition", example=example)
            settled = dict.fromkeys(map(unquoted, names), "latent")
        for name, how in settled.items():
            argument = f"Intake.composition[{name!r}]"
            check_choice(how, get_args(Composition), argument=argument)
        example = "within_between=['prior_score']"
        split = check_names(self.within_between, argument="Intake.within_between", example=example)
        object.__setattr__(self, "within_between", tuple(map(unquoted, split)))
        object.__setattr__(
            self, "composition", {**dict.fromkeys(self.within_between, "mean"), **settled}
        )

    @property
    def compositions(self) -> dict[str, Composition]:
        """Kind of the school mean of every composition column."""
        assert isinstance(self.composition, Mapping)  # settled above
        return dict(self.composition)


@dataclass(frozen=True, kw_only=True)
class Structure:
    r"""The stochastic side of the model.

    Attributes
    ----------
    covariance : mapping of {level: str}
        Covariance of a level's intercept and slopes: ``"unstructured"`` (default), ``"diagonal"``,
        ``"identity"`` (one variance, no correlations), ``"compound_symmetry"`` (one variance and
        one correlation) or ``"ar1"`` (effects by year only).  All but the first depend on the
        zero point of the slopes' columns, the last three on their units too.
    drift : {"ar1", "unstructured"} or None
        How a school's effects of different years hang together (needs ``time=``).  None: what lasts
        and independent parts of single years.  ``"ar1"``: what lasts and a part that fades,
        correlated :math:`\rho^{|t-s|}`.  ``"unstructured"``: any variance in every year and any
        correlation of two; what lasts is the mean over the years of the data, and slopes may
        correlate with every year.
    weights : str or None
        Column of precision weights, at least 0.
    unit : str or None
        Pupil key; when set, its combination with the year (and ``subject``, where the table has
        one) must not repeat.
    outcome_group : str, mapping of {level: str} or None
        Column of subjects fitted jointly (one row per pupil and subject): every subject has its own
        residual variance, every school (and school-by-year cell) its own effect in each, with an
        unstructured covariance; with ``unit`` the residuals of one pupil's subjects are correlated
        too.  A mapping names the levels whose effects differ by subject; the others have one
        effect for all subjects.
    """

    covariance: Mapping[str, Covariance] = field(default_factory=dict)
    drift: Literal["ar1", "unstructured"] | None = None
    weights: str | None = None
    unit: str | None = None
    outcome_group: str | Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        example = "covariance={'school_id': 'diagonal'}"
        check_mapping(self.covariance, argument="Structure.covariance", example=example)
        for field_name in ("weights", "unit", "outcome_group"):
            given = getattr(self, field_name)
            if given is not None and not isinstance(given, Mapping):
                argument, example = f"Structure.{field_name}", f"{field_name}='column'"
                check_names(given, argument=argument, example=example, single=True)
        if isinstance(self.outcome_group, Mapping):
            columns = sorted({str(column) for column in self.outcome_group.values()})
            if len(columns) != 1:
                raise SpecificationError(
                    text("subjects.one_column", columns=", ".join(columns) or "—")
                )
        for level, how in self.covariance.items():
            check_choice(how, COVARIANCES, argument=f"Structure.covariance[{level!r}]")
        if self.drift is not None:
            check_choice(self.drift, ("ar1", "unstructured"), argument="Structure.drift")
            if self.outcome_group is not None:
                raise SpecificationError(text("drift.with_subjects"))


def _check_reliability(value: object, place: str) -> None:
    """Raise unless a share in (0, 1], the name of a column, or nothing at all."""
    if isinstance(value, str) or (value is None and not place):
        return
    if value is not True and isinstance(value, Real) and 0.0 < float(value) <= 1.0:
        return
    raise SpecificationError(text("measurement.range", column=place, value=repr(value)))
