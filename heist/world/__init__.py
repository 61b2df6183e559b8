"""The bank: what is true about it, and what its papers and its database say."""
