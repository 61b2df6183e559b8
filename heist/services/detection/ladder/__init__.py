"""The ladder: the detectors of the house, from chance to the hybrid."""
