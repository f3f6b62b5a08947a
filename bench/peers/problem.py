"""The one kind of error that ends a measurement with a line of text instead of a trace."""


class Problem(Exception):
    pass
