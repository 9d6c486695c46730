"""The jobs of the RQ test, importable by its worker."""

_tries = {"flaky": 0}


def add(one, other):
    return one + other


def fails():
    raise ValueError("never")


def say(word):
    return word
