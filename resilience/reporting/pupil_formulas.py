"""The model of pupils in TeX, with exactly the random parts it holds."""

from __future__ import annotations

from resilience.reporting.random_parts import Parts

__all__ = ["pupil_model", "school_symbol", "year_symbol"]

_MOST_IN_A_LINE = 3
_NONE = r"\mathbf{0}"


def school_symbol(parts: Parts) -> str:
    """Return the symbol of the lasting effect of a school."""
    if parts.shares == "school":
        return "u_k"
    return "u_{js}" if parts.subjects else "u_j"


def year_symbol(parts: Parts) -> str:
    """Return the symbol of the part of one year."""
    if parts.shares == "school":
        return "v_{kt}"
    return "v_{jts}" if parts.years_by_subject else "v_{jt}"


def pupil_model(parts: Parts) -> tuple[str, ...]:
    """Return the model of pupils and, in the lines after it, the distributions of its parts."""
    index = _index(parts)
    terms = [rf"\mathbf{{x}}_{{{index}}}^\top \boldsymbol{{\beta}}"]
    above = "w_{m(j)s}" if parts.outer_by_subject else "w_{m(j)}"
    terms += _others(parts.outer, above, r"\sum_l w^{(l)}_{m_l(j)}")
    terms += _crossed(parts)
    inside = [school_symbol(parts)]
    if parts.slopes:
        school = "k" if parts.shares == "school" else "j"
        inside.append(rf"\mathbf{{z}}_{{{index}}}^\top \mathbf{{b}}_{school}")
    if parts.years:
        inside.append(year_symbol(parts))
    own = " + ".join(inside)
    if parts.shares == "school":
        own = r"\sum_k \omega_{ik} " + (f"({own})" if len(inside) > 1 else own)
    model = rf"y_{{{index}}} = " + " + ".join([*terms, own, rf"e_{{{index}}}"])
    laws = _laws(parts, index)
    lines = [laws[k : k + _MOST_IN_A_LINE] for k in range(0, len(laws), _MOST_IN_A_LINE)]
    return model, *(r",\quad ".join(line) for line in lines)


def _index(parts: Parts) -> str:
    index = "i" if parts.shares == "school" else "ij"
    return index + ("t" if parts.years else "") + ("s" if parts.subjects else "")


def _others(levels: tuple[str, ...], one: str, several: str) -> list[str]:
    return [] if not levels else [one] if len(levels) == 1 else [several]


def _crossed(parts: Parts) -> list[str]:
    """Return the effects of units that cross the schools, those by shares apart."""
    by_share = parts.shares in parts.crossed
    whole = tuple(name for name in parts.crossed if name != parts.shares)
    found = _others(whole, "c_{k(i)}", r"\sum_l c^{(l)}_{k_l(i)}")
    return [*found, r"\sum_k \omega_{ik}\, a_k"] if by_share else found


def _laws(parts: Parts, index: str) -> list[str]:
    """Return the distributions, from the outermost units to the residual."""
    found = []
    if len(parts.outer) > 1:
        found.append(_law("w^{(l)}_m", r"\sigma_{w,l}^2"))
    elif parts.outer_by_subject:
        found.append(_joint(["w_{m1}", r"\ldots", "w_{mS}"], "w"))
    elif parts.outer:
        found.append(_law("w_m", "w"))
    whole = [name for name in parts.crossed if name != parts.shares]
    if whole:
        found.append(_law("c^{(l)}_k", r"\sigma_{c,l}^2") if len(whole) > 1 else _law("c_k", "c"))
    if len(whole) < len(parts.crossed):
        found.append(_law("a_k", "a"))
    found.append(_school_law(parts))
    if parts.years and parts.drift != "unstructured":
        symbol = year_symbol(parts)
        by = parts.years_by_subject
        found.append(_joint(["v_{jt1}", r"\ldots", "v_{jtS}"], "v") if by else _law(symbol, "v"))
    if parts.drift == "ar1":
        # bars without \left and \right are lost where LibreOffice reads the formula from DOCX
        found.append(r"\text{cor}(v_{jt},\, v_{js}) = \rho^{\left|t-s\right|}")
    if parts.linked:
        stem = index.removesuffix("s")
        found.append(_joint([f"e_{{{stem}1}}", r"\ldots", f"e_{{{stem}S}}"], "e"))
    else:
        variance = r"\sigma_{e,s}^2" if parts.subjects else "e"
        found.append(_law(rf"e_{{{index}}}", variance))
    return found


def _school_law(parts: Parts) -> str:
    """Return the law of what belongs to one school: effects, slopes, and years that hang so."""
    school = "k" if parts.shares == "school" else "j"
    effects = [school_symbol(parts)]
    if parts.subjects:
        effects = ["u_{j1}", r"\ldots", "u_{jS}"]
    if parts.drift == "unstructured":
        effects = ["u_j + v_{j1}", r"\ldots", "u_j + v_{jT}"]
    slopes = [rf"\mathbf{{b}}_{school}"] if parts.slopes else []
    together = [*effects, *slopes]
    return _law(together[0], "u") if len(together) == 1 else _joint(together, "u")


def _law(symbol: str, variance: str) -> str:
    size = rf"\sigma_{variance}^2" if len(variance) == 1 else variance
    return rf"{symbol} \sim N(0,\,{size})"


def _joint(symbols: list[str], name: str) -> str:
    inside = r",\,".join(symbols)
    # a bracket with a transpose sign is lost where LibreOffice reads the formula from DOCX
    return rf"({inside}) \sim N({_NONE},\,\boldsymbol{{\Omega}}_{name})"
