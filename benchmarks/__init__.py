"""Measurements against peers: ``python -m benchmarks`` runs them, prints ratios, and keeps them as JSON."""
