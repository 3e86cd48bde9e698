"""What goes over the wire, as types, by room: FastAPI checks requests by them, and writes the OpenAPI document."""
