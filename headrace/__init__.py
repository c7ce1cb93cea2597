"""Headrace: multi-tenant e-commerce data ingestion that accounts for every line."""

__version__ = "0.1.0"
