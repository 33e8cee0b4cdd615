"""The way of a picture: dispatcher (who is next), fetcher (download), inferencer (score), writer (apply, verify).

Read the modules in that order.
"""
