"""The way of a picture: supervisor (dispatch), fetcher (download), inferencer (score), writer (apply, verify).

Read the modules in that order.
"""
