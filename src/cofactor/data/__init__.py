"""Tables in: ids, interactions, and the doors they come through."""
