"""Memory: what was said long ago, in less and less words, and no figure lost while there is room for it."""
