"""The formulas of the appendix, in TeX that pandoc turns into MathML and Word formulas."""

from __future__ import annotations

__all__ = [
    "BAYES_RULE",
    "CONDITIONAL_SD",
    "EFFECT",
    "EXPECTED_RANK",
    "INDEX",
    "RELIABILITY",
    "MEAN_OF_SCORES",
    "information",
    "marks_model",
    "mean_model",
]

EFFECT = r"\hat u_j = \lambda_j\, d_j"
RELIABILITY = r"\lambda_j = \frac{\sigma_u^2 A_j}{1 + \sigma_u^2 A_j}"
CONDITIONAL_SD = r"s_j = \sqrt{\frac{1}{1/\sigma_u^2 + A_j}} = \sigma_u\sqrt{1-\lambda_j}"
EXPECTED_RANK = (
    r"E(\text{rank}_j) = 1 + \sum_{k\neq j} "
    r"\Phi\!\left(\frac{\hat u_j-\hat u_k}{\sqrt{SE_j^2+SE_k^2}}\right)"
)
INDEX = (
    r"z_{sk} = d_k\,\frac{x_{sk}-m_k}{s_k}",
    r"c_s = \sum_k w_k z_{sk}",
    r"I_s = 50 + 10\,\frac{c_s-\bar c_0}{s_0}",
)
MEAN_OF_SCORES = (
    r"\bar y_{jtp} = \eta_{jtp} + \bar e_{jtp},\quad \bar e_{jtp} \sim N(0,\,\varsigma_{jtp}^2)"
)
BAYES_RULE = r"P \;\ge\; p^* = \frac{L_{FP}}{L_{FP}+L_{FN}}"


def mean_model(
    *, years: bool, procedures: bool = False, cells: bool = False, known_size: bool
) -> tuple[str, str]:
    """Return the model of school means, and the distributions of its random parts."""
    i = "j" + ("t" if years else "") + ("p" if procedures else "")
    passing = " + v_{jt}" if years else ""
    passing += " + w_{jp}" if procedures else ""
    passing += r" + \varepsilon_{jtp}" if cells else ""
    error = rf"\sigma_e^2/n_{{{i}}}" if known_size else rf"\varsigma_{{{i}}}^2"
    model = (
        rf"\bar y_{{{i}}} = \mathbf{{x}}_{{{i}}}^\top \boldsymbol{{\beta}} + u_j{passing}"
        rf" + \bar e_{{{i}}}"
    )
    normal = _normal(rf"\bar e_{{{i}}}", error, years=years, procedures=procedures, cells=cells)
    return model, normal


def marks_model(
    *, years: bool, procedures: bool, cells: bool, shared: bool
) -> tuple[str, str, str]:
    """Return the model of marks: its thresholds, the level of a school, the random parts."""
    place = r"\eta_{jtp} = \mathbf{x}_{jtp}^\top \boldsymbol{\beta} + u_j"
    parts = [r"u_j \sim N(0,\,\sigma_u^2)"]
    for there, symbol, variance in (
        (years, "v_{jt}", r"\sigma_v^2"),
        (procedures, "w_{jp}", r"\sigma_w^2"),
        (cells, r"\varepsilon_{jtp}", r"\sigma_\varepsilon^2"),
        (shared, "a_{jc}", r"r\,\sigma^2/N_{jc}"),
    ):
        if there:
            place += f" + {symbol}"
            parts.append(rf"{symbol} \sim N(0,\,{variance})")
    mark = r"P(m_{ijtp} \le k) = \Phi\!\left(\frac{c_{k,tp} - \eta_{jtp}}{\sigma}\right)"
    return mark, place, r",\quad ".join(parts)


def _normal(
    error: str, variance: str, *, years: bool, procedures: bool = False, cells: bool = False
) -> str:
    parts = [r"u_j \sim N(0,\,\sigma_u^2)"]
    if years:
        parts.append(r"v_{jt} \sim N(0,\,\sigma_v^2)")
    if procedures:
        parts.append(r"w_{jp} \sim N(0,\,\sigma_w^2)")
    if cells:
        parts.append(r"\varepsilon_{jtp} \sim N(0,\,\sigma_\varepsilon^2)")
    parts.append(rf"{error} \sim N(0,\,{variance})")
    return r",\quad ".join(parts)


def information(*, years: bool, known_size: bool = True) -> str:
    """Return the precision of the data of a school about its lasting effect."""
    if years:
        error = r"\sigma_e^2/n_{jt}" if known_size else r"\varsigma_{jt}^2"
        return rf"A_j = \sum_t \frac{{1}}{{\sigma_v^2 + {error}}}"
    return r"A_j = \frac{n_j}{\sigma_e^2}" if known_size else r"A_j = \frac{1}{\varsigma_j^2}"
