"""Shared code of tests and benchmarks: the command line, served processes, databases and faults."""
