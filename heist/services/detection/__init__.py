"""Detection: who it is, why, and how sure one can be."""
