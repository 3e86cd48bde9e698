"""Training in the service: specification, data, promotion gate and worker."""
