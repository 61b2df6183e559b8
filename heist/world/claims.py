"""STUB."""


def claims(facts, text):
    return []
