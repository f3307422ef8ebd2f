"""What a recipe demands of params: a JSON Schema, or a dataclass that one is made of. Loaded when a recipe has one."""
