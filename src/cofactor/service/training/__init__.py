"""Training of models in the service: specifications, data, promotion gate and worker."""
