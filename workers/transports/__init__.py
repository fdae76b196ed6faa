"""One transport a protocol: each makes an attempt, and says exactly what came of it."""
