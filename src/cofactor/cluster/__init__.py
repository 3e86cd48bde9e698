"""Apache Spark: fit models to tables that are larger than one machine.

Needs the extra `spark` and Java 17. The results are ordinary recommenders, which every other part of cofactor reads.
"""

from cofactor.cluster.fitting import ClusterFit, fit

__all__ = ["ClusterFit", "fit"]
