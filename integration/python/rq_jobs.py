"""The jobs of the RQ test, importable by its worker."""

def add(one, other):
    return one + other


def fails():
    raise ValueError("never")


def say(word):
    return word
