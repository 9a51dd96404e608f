"""The part of a calculation sheet that redoes the probability of a posterior rule."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from scipy import special

from resilience.detection.rules.criteria import Criteria
from resilience.detection.rules.criterion import EFFECT, INDEX, Criterion
from resilience.i18n import text
from resilience.reporting.calculation_sheet_common import say, write_step
from resilience.reporting.calculation_sheet_data import School, is_number
from resilience.reporting.calculation_sheet_page import Page, quoted
from resilience.stats.binormal import binormal_cdf

__all__ = ["Words", "can_redo", "write_joint"]

UPWARD = ("above", "at_least")
GOOD_POWER = 0.5
_CLOSE = 1e-9  # a redone probability further from the library's is not the same calculation


@dataclass(frozen=True, kw_only=True)
class Words:
    """The verdicts in the language of the page."""

    yes: str
    no: str
    unknown: str
    outside: str

    @classmethod
    def of(cls, lang: str) -> Words:
        """Return the words of a language."""
        names = ("yes", "no", "insufficient_data", "not_applicable")
        yes, no, unknown, outside = (text(f"verdicts.{n}").localized(lang) for n in names)
        return cls(yes=yes, no=no, unknown=unknown, outside=outside)

    def of_verdict(self, verdict: str) -> str:
        """Return the word of a verdict of the library."""
        return {
            "yes": self.yes,
            "no": self.no,
            "insufficient_data": self.unknown,
            "not_applicable": self.outside,
        }[verdict]


@dataclass(kw_only=True)
class _Chain:
    """Lines of one rule: names carry the rule's own prefix, values are computed beside."""

    page: Page
    prefix: str
    values: dict[str, float] = field(default_factory=dict)

    def add(
        self,
        name: str,
        value: float,
        formula: str = "",
        *,
        key: str = "",
        digits: int = 4,
        result: bool = False,
        library: float | None = None,
    ) -> None:
        """Write a line; ``{.name}`` in the formula is a line of this rule."""
        self.values[name] = value
        write_step(
            self.page,
            self.prefix + name,
            key or name,
            value,
            formula.replace("{.", "{" + self.prefix),
            digits=digits,
            result=result,
            library=library,
        )


def _parts(rule: Criteria) -> tuple[Criterion | None, Criterion | None]:
    effects = [c for c in rule.joint_criteria if c.column == EFFECT]
    contexts = [c for c in rule.joint_criteria if c.column == INDEX]
    return (effects[0] if len(effects) == 1 else None), (contexts[0] if contexts else None)


def can_redo(rule: Criteria, school: School) -> bool:
    """Whether formulas of one normal posterior give the probability of the library.

    They do for a lasting effect, alone or with the context.  Next year's effect, events over years
    and single subjects are other calculations, some of them by draws.
    """
    row, (better, adversity) = school.working.get(rule.id), _parts(rule)
    if row is None or better is None or school.raw is None or school.precision is None:
        return False
    numbers = ["residual_mean", "precision", "effect_variance", "delta", "probability"]
    numbers += ["context_shrunken", "context_error", "gate", "context_slope"] if adversity else []
    if not all(is_number(row[name]) for name in numbers) or row["effect_variance"] <= 0:
        return False
    net = school.raw - row["line_level"]
    if adversity is not None:
        if school.shrunken is None or school.error is None:
            return False
        if abs(school.shrunken - row["context_shrunken"]) > _CLOSE:
            return False
        net -= row["line_slope"] * school.shrunken
    same = abs(net - row["residual_mean"]) < _CLOSE and school.precision == row["precision"]
    return bool(same and abs(_redone(school, rule) - row["probability"]) < _CLOSE)


def _redone(school: School, rule: Criteria) -> float:
    """Return the probability by the formulas of the sheet."""
    row, (_, adversity) = school.working[rule.id], _parts(rule)
    u = float(row["effect_sign"])
    sigma2, A, d = row["effect_variance"], row["precision"], row["residual_mean"]
    if adversity is None:
        trust = sigma2 * A / (1 + sigma2 * A)
        spread = math.sqrt(sigma2 * (1 - trust))
        return float(special.ndtr(u * (trust * d - row["delta"]) / spread))
    found = _moments(row["context_slope"], row["context_error"], sigma2, A, d)
    c = float(row["context_sign"])
    k = u * (found["mu_u"] - row["delta"]) / found["s_u"]
    gap = c * (row["gate"] - row["context_shrunken"] - found["shift"])
    if found["s_c"] == 0:
        return float(special.ndtr(k)) if gap >= 0 else 0.0
    rho = u * c * found["covariance"] / (found["s_c"] * found["s_u"])
    return float(binormal_cdf(gap / found["s_c"], k, np.clip(rho, -1, 1)))


def _moments(b: float, q: float, sigma2: float, A: float, d: float) -> dict[str, float]:
    V = b**2 * q**2 + sigma2 + 1 / A
    return {
        "V": V,
        "shift": b * q**2 * d / V,
        "s_c": math.sqrt(max(q**2 - b**2 * q**4 / V, 0.0)),
        "mu_u": sigma2 * d / V,
        "s_u": math.sqrt(max(sigma2 - sigma2**2 / V, 0.0)),
        "covariance": b * q**2 * sigma2 / V,
    }


def write_joint(page: Page, school: School, rule: Criteria, prefix: str, words: Words) -> str:
    """Write the posterior of effect and context and its verdict; return the verdict's name."""
    row, (better, adversity) = school.working[rule.id], _parts(rule)
    chain = _Chain(page=page, prefix=prefix)
    _effect(chain, school, rule, better)
    if adversity is not None:
        _context(chain, school, rule)
        _probability_of_both(chain, row)
    else:
        u, value = float(row["effect_sign"]), chain.values
        k = u * (value["shrunken"] - value["delta"]) / value["shrunken_sd"]
        sign = "" if u > 0 else "-1*"
        chain.add("k", k, f"{sign}({{.shrunken}}-{{.delta}})/{{.shrunken_sd}}")
        chain.add(
            "probability",
            float(special.ndtr(k)),
            "_xlfn.NORM.S.DIST({.k},TRUE)",
            key="probability_alone",
            result=True,
            library=float(row["probability"]),
        )
    _decision(chain, school, rule, adversity is not None, row)
    return _verdict(page, school, rule, prefix, words, adversity is not None)


def _effect(chain: _Chain, school: School, rule: Criteria, better: Criterion | None) -> None:
    """Write the mean residual net of the line, its reliability, the bound of the effect."""
    row, raw = school.working[rule.id], float(school.raw or 0.0)
    level, slope = float(row["line_level"]), float(row["line_slope"])
    if level or slope:
        chain.add("line_level", level)
        chain.add("line_slope", slope, digits=5)
        net = raw - level - slope * float(school.shrunken or 0.0)
        chain.add("net", net, "{raw}-{.line_level}-{.line_slope}*{a}")
    else:
        chain.add("net", raw, "{raw}", key="net_same")
    sigma2, A = float(row["effect_variance"]), float(row["precision"])
    trust = sigma2 * A / (1 + sigma2 * A)
    chain.add("sigma2", sigma2, digits=5)
    chain.add("trust", trust, "{.sigma2}*{precision}/(1+{.sigma2}*{precision})", result=True)
    chain.add("shrunken", trust * chain.values["net"], "{.trust}*{.net}", result=True)
    spread = math.sqrt(sigma2 * (1 - trust))
    chain.add("shrunken_sd", spread, "SQRT({.sigma2}*(1-{.trust}))")
    if better is not None:
        _bound(chain, row["effect_sign"], float(row["delta"]), better)


def _bound(chain: _Chain, sign: float, delta: float, better: Criterion) -> None:
    formula = ""
    if better.scale in ("quantile", "z"):
        chain.add("asked", better.bound, key=f"asked_{better.scale}")
        own = "_xlfn.NORM.S.INV({.asked})" if better.scale == "quantile" else "{.asked}"
        formula = f"{own}*SQRT({{.sigma2}})"
    elif better.floor > 0:
        chain.add("asked", better.bound, key="asked_value")
        formula = "{.asked}"
    if better.floor > 0:
        chain.add("floor", better.floor)
        formula = f"MAX({formula},{{.floor}})" if sign > 0 else f"MIN({formula},-{{.floor}})"
    chain.add("delta", delta, formula, key="delta" if formula else "delta_given", result=True)


def _context(chain: _Chain, school: School, rule: Criteria) -> None:
    """Write gate, slope and the posterior of context and effect together."""
    row, value = school.working[rule.id], chain.values
    b, q, a = float(row["context_slope"]), float(school.error or 0.0), float(school.shrunken or 0.0)
    side = "" if row["context_sign"] > 0 else "-1*"
    chain.add("gate", float(row["gate"]))
    chain.add("slope", b, digits=5)
    gap = float(row["context_sign"]) * (float(row["gate"]) - a)
    alone = float(special.ndtr(gap / q)) if q > 0 else float(gap >= 0)
    chain.add(
        "adverse",
        alone,
        f"IF({{q}}>0,_xlfn.NORM.S.DIST({side}({{.gate}}-{{a}})/MAX({{q}},1E-300),TRUE),"
        f"IF({side}({{.gate}}-{{a}})>=0,1,0))",
        result=True,
        library=float(row["probability_adverse"]),
    )
    found = _moments(b, q, value["sigma2"], float(row["precision"]), value["net"])
    chain.add("V", found["V"], "{.slope}^2*{q}^2+{.sigma2}+1/{precision}", digits=5)
    chain.add("mu_c", a + found["shift"], "{a}+{.slope}*{q}^2*{.net}/{.V}")
    chain.add("s_c", found["s_c"], "SQRT(MAX({q}^2-{.slope}^2*{q}^4/{.V},0))")
    chain.add("mu_u", found["mu_u"], "{.sigma2}*{.net}/{.V}", result=True)
    chain.add("s_u", found["s_u"], "SQRT(MAX({.sigma2}-{.sigma2}^2/{.V},0))")
    value["covariance"] = found["covariance"]


def _probability_of_both(chain: _Chain, row: object) -> None:
    """Write the two distances, their correlation and the probability of both at once."""
    own: dict[str, float] = dict(row)  # type: ignore[call-overload]  # a record of the table
    value, u, c = chain.values, float(own["effect_sign"]), float(own["context_sign"])
    s_c, s_u = value["s_c"], value["s_u"]
    tiny = "1E-300"
    h = c * (value["gate"] - value["mu_c"]) / max(s_c, 1e-300)
    k = u * (value["mu_u"] - value["delta"]) / s_u
    rho = u * c * value["covariance"] / (s_c * s_u) if s_c > 0 else 0.0
    side_c, side_u = ("" if sign > 0 else "-1*" for sign in (c, u))
    side = "" if u * c > 0 else "-1*"
    chain.add("h", h, f"{side_c}({{.gate}}-{{.mu_c}})/MAX({{.s_c}},{tiny})")
    chain.add("k", k, f"{side_u}({{.mu_u}}-{{.delta}})/{{.s_u}}", key="k_both")
    chain.add(
        "rho",
        rho,
        f"IF({{.s_c}}>0,{side}({{.slope}}*{{q}}^2*{{.sigma2}}/{{.V}})/({{.s_c}}*{{.s_u}}),0)",
    )
    inside = "IF({.s_c}>0,_xlfn.NORM.S.DIST({.h},TRUE),IF({.h}>=0,1,0))"
    product = f"{inside}*_xlfn.NORM.S.DIST({{.k}},TRUE)"
    value["product"] = (float(special.ndtr(h)) if s_c > 0 else float(h >= 0)) * float(
        special.ndtr(k)
    )
    chain.add("product", value["product"], product)
    angle = "ASIN({.rho})/2*({nodes}+1)"
    exponent = f"-(({{.h}}^2-2*{{.h}}*{{.k}}*SIN({angle})+{{.k}}^2)/(2*COS({angle})^2))"
    formula = f"{{.product}}+ASIN({{.rho}})/(4*PI())*SUMPRODUCT({{node_weights}},EXP({exponent}))"
    chain.add(
        "probability",
        float(own["probability"]),
        f"IF({{.s_c}}>0,MAX(0,MIN(1,{formula})),{{.product}})",
        result=True,
        library=float(own["probability"]),
    )


def _decision(
    chain: _Chain, school: School, rule: Criteria, with_context: bool, row: object
) -> None:
    """Write the threshold from the losses and what these data could have shown."""
    own: dict[str, float] = dict(row)  # type: ignore[call-overload]  # a record of the table
    losses, value = rule.losses, chain.values
    chain.add("loss_wrong_yes", losses.false_positive, digits=1)
    chain.add("loss_wrong_no", losses.false_negative, digits=1)
    chain.add(
        "threshold",
        losses.threshold,
        "{.loss_wrong_yes}/({.loss_wrong_yes}+{.loss_wrong_no})",
        result=True,
        library=float(own["threshold"]),
    )
    chain.add("p_no", rule.p_no, digits=2)
    sign = float(own["effect_sign"])
    chain.add("strong", rule.alternative_quantile or 0.9, digits=2)
    minus = "" if sign > 0 else "-1*"
    alternative = sign * float(special.ndtri(value["strong"])) * math.sqrt(value["sigma2"])
    chain.add(
        "alternative",
        alternative,
        f"{minus}(_xlfn.NORM.S.INV({{.strong}})*SQRT({{.sigma2}}))",
    )
    chance = value["adverse"] if with_context else 1.0
    needed = losses.threshold / max(chance, 1e-300)
    share = "{.threshold}/MAX({.adverse},1E-300)" if with_context else "{.threshold}"
    chain.add("needed", min(needed, 1e300), share)
    power = float(own["power_to_detect"])
    z = "_xlfn.NORM.S.INV(MIN({.needed},0.9999999999))"
    distance = f"({minus}({{.trust}}*{{.alternative}}-{{.delta}})-{z}*{{.shrunken_sd}})"
    possible = f"AND({{.needed}}<1,{minus}({{.alternative}}-{{.delta}})>0)"
    chain.add(
        "power",
        power if is_number(power) else 0.0,
        f"IF({possible},_xlfn.NORM.S.DIST({distance}*SQRT({{precision}})/{{.trust}},TRUE),0)",
        result=True,
        library=power if is_number(power) else None,
    )
    chain.add("min_pupils", float(rule.min_pupils), digits=0)
    if with_context and school.kappa is not None:
        chain.add("min_kappa", rule.min_context_reliability or 0.0, digits=2)
    if with_context and school.coverage is not None:
        chain.add("min_coverage", rule.min_coverage or 0.0, digits=2)


def _verdict(
    page: Page, school: School, rule: Criteria, prefix: str, words: Words, with_context: bool
) -> str:
    """Write the decision in the library's order of questions."""
    unknown, yes, no = (quoted(w) for w in (words.unknown, words.yes, words.no))

    def name(own: str) -> str:
        return "{" + prefix + own + "}"

    guards = [f"{{n_pupils}}<{name('min_pupils')}"]
    if with_context and school.kappa is not None:
        guards.append(f"{{kappa}}<{name('min_kappa')}")
    if with_context and school.coverage is not None:
        guards.append(f"{{coverage}}<{name('min_coverage')}")
    late = f"IF({name('power')}<{GOOD_POWER},{unknown},{no})"
    if with_context:
        between = f"AND({name('adverse')}>{name('p_no')},{name('adverse')}<{name('threshold')})"
        late = f"IF({between},{unknown},{late})"
    formula = (
        f"IF(OR({','.join(guards)}),{unknown},IF({name('probability')}>={name('threshold')},{yes},"
        f"IF({name('probability')}<={name('p_no')},{no},{late})))"
    )
    label, how = say("joint_verdict")
    page.line(
        prefix + "joint_verdict",
        label,
        joint_answer(school, rule, with_context, words),
        how,
        formula=formula,
        result=True,
    )
    return prefix + "joint_verdict"


def joint_answer(school: School, rule: Criteria, with_context: bool, words: Words) -> str:
    """Return the answer that the order of questions gives to the library's numbers."""
    row = school.working[rule.id]
    p, threshold = float(row["probability"]), rule.losses.threshold
    weak = float(school.n_pupils or 0.0) < rule.min_pupils
    if with_context:
        kappa, coverage = school.kappa, school.coverage
        weak |= kappa is not None and kappa < (rule.min_context_reliability or 0.0)
        weak |= coverage is not None and coverage < (rule.min_coverage or 0.0)
    adverse = float(row["probability_adverse"]) if with_context else 1.0
    if weak:
        return words.unknown
    if p >= threshold:
        return words.yes
    if p <= rule.p_no:
        return words.no
    if with_context and rule.p_no < adverse < threshold:
        return words.unknown
    power = row["power_to_detect"]
    return words.no if is_number(power) and power >= GOOD_POWER else words.unknown
