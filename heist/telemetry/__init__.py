"""What the house tells those who run it of its own work: spans, measures, lines of a log. Nothing that is sealed."""
