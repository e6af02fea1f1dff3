"""What scripts/run starts: a real Prometheus, a small real mesh, trimtab, and a fault to play on them. Python 3 standard library only."""
