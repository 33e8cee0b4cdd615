"""Measurements that only who works on autotagger needs: see README.md."""
