"""The audit in SQL: the single source of truth about what happened."""
