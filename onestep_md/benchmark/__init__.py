"""Measurements that the README and systems/README.md quote; `python -m onestep_md.benchmark`."""
