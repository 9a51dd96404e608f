"""What clusters are asked for: conditions, number, method, strata, bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass

from resilience.clustering.conditions.specification import Conditions
from resilience.clustering.fits.algorithms import Covariance, Method, check_method
from resilience.clustering.fits.sizes import ClusterSizes
from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.validation import check_count, check_instance, check_names

__all__ = ["ClusterDefinition"]

_MIXED = ("nominal", "ordinal")  # kinds that degenerate the components of a mixture


@dataclass(frozen=True)
class ClusterDefinition:
    """What clusters of schools are asked for; `ClusterModel` fits them.

    Attributes
    ----------
    conditions : Conditions
        What schools are grouped by: intake and location, never results.
    n_clusters : int, mapping of {stratum: int} or None
        Number of clusters of every stratum, 2 or more (a mapping may leave a small stratum whole
        with 1).  None lets `select_n_clusters` choose in every stratum; where nothing stable is
        found there are no clusters.
    method : {"kmeans", "ward", "gmm"}
        Least squares around centres, Ward's tree, or a mixture of normal distributions.
    strata : sequence of str
        Columns that part the schools before anything is grouped; each stratum has clusters of its
        own on the scale of all schools.
    sizes : ClusterSizes, optional
        Bounds of the number of schools in every cluster (k-means).
    covariance : {"full", "tied", "diag", "spherical"}
        Of a mixture.
    n_init : int, optional
        Starts, of which the best is kept: by default 50 of k-means, 20 of a mixture.

    Raises
    ------
    SpecificationError
        For anything of another kind, fewer than two clusters, a mixture of categories, bounds with
        another method than k-means.

    References
    ----------
    HennigLiao2013; ArthurVassilvitskii2007; MurtaghLegendre2014; FraleyRaftery2002.
    """

    conditions: Conditions
    _: KW_ONLY
    n_clusters: int | Mapping[str, int] | None = None
    method: Method = "kmeans"
    strata: Sequence[str] | str = ()
    sizes: ClusterSizes | None = None
    covariance: Covariance = "full"
    n_init: int | None = None

    def __post_init__(self) -> None:
        check_instance(
            self.conditions,
            Conditions,
            argument="conditions",
            example="rs.Conditions(shares=['low_income'])",
        )
        check_method(self.method, self.covariance)
        parted = check_names(self.strata, argument="strata", example="strata=['is_rural']")
        object.__setattr__(self, "strata", parted)
        if self.sizes is not None:
            check_instance(
                self.sizes, ClusterSizes, argument="sizes", example="rs.ClusterSizes(smallest=10)"
            )
            if self.method != "kmeans":
                raise SpecificationError(text("clusters.bounds_method", method=repr(self.method)))
        if self.n_init is not None:
            check_count(self.n_init, argument="n_init")
        self._check_n_clusters()
        mixed = [v for v, kind in self.conditions.kinds.items() if kind in _MIXED]
        if self.method == "gmm" and mixed:
            raise SpecificationError(text("clusters.gmm_mixed", columns=", ".join(mixed)))

    def _check_n_clusters(self) -> None:
        if isinstance(self.n_clusters, Mapping):
            settled = {}
            for stratum, k in self.n_clusters.items():
                check_names(stratum or "-", argument="n_clusters", example="{'is_rural=True': 3}")
                settled[stratum] = check_count(k, argument=f"n_clusters[{stratum!r}]")
            object.__setattr__(self, "n_clusters", settled)
        elif self.n_clusters is not None:
            check_count(self.n_clusters, argument="n_clusters", least=2)
