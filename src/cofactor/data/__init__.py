"""Interaction tables: IDs, ratings and events, side tables, and the readers that load them."""
