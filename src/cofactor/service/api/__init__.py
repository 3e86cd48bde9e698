"""HTTP API of the service: one module per group of routes; `app` assembles them."""
