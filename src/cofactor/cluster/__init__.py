"""Apache Spark: fit, recommend and evaluate with tables that are larger than one machine."""
