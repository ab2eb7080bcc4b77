"""Measurements against peers: ``python -m benchmarks`` runs them, prints ratios, and stores them as JSON."""
