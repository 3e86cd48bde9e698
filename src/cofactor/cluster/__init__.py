"""Apache Spark: fit models to tables that are larger than one machine, and recommend, evaluate and audit in batches.

Needs the extra `spark` and Java 17. The results are ordinary recommenders, which every other part of cofactor reads.
"""

from cofactor.cluster.batch import BatchLists, exposure, recommend_all
from cofactor.cluster.fitting import ClusterFit, fit
from cofactor.cluster.scoring import score

__all__ = ["BatchLists", "ClusterFit", "exposure", "fit", "recommend_all", "score"]
