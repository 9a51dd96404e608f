"""The table ``[index]`` of ``region.toml``."""

from __future__ import annotations

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.pipeline.config import IndexConfig, IndexKind, Transform, WeightsMode
from resilience.pipeline.config_values import TomlTable, is_number

__all__ = ["read_index"]

# Keys of the index that its kinds need, with an example, and those they have no use for.
_INDEX_NEEDS = {
    "policy": {"weights": "weights = { single_parent = -1.0 }"},
    "supervised": {
        "inputs": 'inputs = ["single_parent", "low_income"]',
        "weights": 'weights = "previous_years"',
        "outcome": 'outcome = "mean_score"',
    },
    "equal": {"inputs": 'inputs = ["single_parent", "low_income"]'},
    "pca": {"inputs": 'inputs = ["single_parent", "low_income"]'},
}
_INDEX_EXCESS = {
    "policy": ("inputs", "outcome", "outcome_sd", "folds"),
    "supervised": (),
    "equal": ("weights", "outcome", "outcome_sd", "folds"),
    "pca": ("weights", "outcome", "outcome_sd", "folds"),
}


def read_index(table: TomlTable) -> IndexConfig:
    """Return the settings of the context index."""
    if not table.has("kind"):
        example = text("config.example", code='kind = "policy"')
        raise SpecificationError(
            text("config.index_needs", file=table.file, kind="?", key="kind", example=example)
        )
    kind: IndexKind = table.choice("kind", IndexKind, "policy")
    for key, code in _INDEX_NEEDS[kind].items():
        if not table.has(key):
            example = text("config.example", code=code)
            raise SpecificationError(
                text(
                    "config.index_needs",
                    file=table.file,
                    kind=repr(kind),
                    key=key,
                    example=example,
                )
            )
    for key in _INDEX_EXCESS[kind]:
        if table.has(key):
            raise SpecificationError(
                text("config.index_excess", file=table.file, kind=repr(kind), key=key)
            )
    weights, mode = _weights(table, kind)
    directions = table.table("directions", "directions")
    if any(isinstance(v, bool) or v not in (-1, 1) for v in directions.values()):
        table.fail("directions", text("config.kind_directions"))
    outcome_sd = table.number("outcome_sd", 1.0)
    if outcome_sd < 0:
        table.fail("outcome_sd", text("config.kind_number"))
    return IndexConfig(
        kind=kind,
        inputs=tuple(weights) if kind == "policy" else table.names("inputs"),
        weights=weights,
        mode=mode,
        outcome=table.words("outcome"),
        outcome_sd=outcome_sd,
        folds=table.whole("folds", 5, least=2),
        directions={name: int(sign) for name, sign in directions.items()},
        transform=table.choice("transform", Transform, "share"),
    )


def _weights(table: TomlTable, kind: IndexKind) -> tuple[dict[str, float], WeightsMode | None]:
    """Return the weights of ``policy`` or the mode of ``supervised``."""
    value = table.record.get("weights")
    if kind not in ("policy", "supervised"):
        return {}, None
    if isinstance(value, dict) != (kind == "policy"):
        raise SpecificationError(text("config.weights_mode", file=table.file, value=repr(value)))
    if kind == "supervised":
        mode: WeightsMode = table.choice("weights", WeightsMode, "previous_years")
        return {}, mode
    weights = table.table("weights", "weights")
    if not all(is_number(w) and w != 0 for w in weights.values()):
        table.fail("weights", text("config.kind_weights"))
    return {name: float(weight) for name, weight in weights.items()}, None
