"""What is wrong with a recipe's schema, which is its author's fault and no request's."""


class SchemaFault(ValueError):
    """Where, and what to do; it holds nothing of any params."""
