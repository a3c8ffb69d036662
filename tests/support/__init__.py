"""Helpers of the tests: data, records and processes made for them."""
