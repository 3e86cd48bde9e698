"""The revisions, oldest first. What a released one does never changes: write the next one instead."""
