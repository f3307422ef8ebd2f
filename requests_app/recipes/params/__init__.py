"""What a recipe demands of params: a JSON Schema, or a dataclass that one is made of. Its modules are loaded for it."""

MAX_PARAMS_BYTES = 64 * 1024  # of those that are checked: larger ones would hold up the requests beside them
