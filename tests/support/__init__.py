"""What tests and benchmarks share: the command line, served processes, databases and faults."""
