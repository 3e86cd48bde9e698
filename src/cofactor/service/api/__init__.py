"""The service over HTTP: one small file for each group of routes; `app` puts them together."""
