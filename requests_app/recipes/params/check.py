"""Whether the params of a request keep to what its action's recipe demands of them."""

from collections.abc import Mapping
from itertools import chain, islice
from typing import Any

from jobs_app.outcomes import Json, json_object
from requests_app.recipes.params import MAX_PARAMS_BYTES
from requests_app.recipes.params.faults import SchemaFault
from requests_app.recipes.params.schema import compiled
from requests_app.recipes.params.sentences import names_in, sentences

MOST_FAULTS = 10
_MOST_ERRORS = 10 * MOST_FAULTS  # some say the same: that of a key that may not be named


class ParamsCheck:
    """Made once for a recipe: compiling costs a hundred times as much as a check.

    `schema_fault`: what is wrong with the recipe's own word; then no params are good.
    """

    def __init__(self, demanded: Mapping[str, Any] | type) -> None:
        self.schema_fault = ""
        try:
            self._validator = compiled(demanded)
            self._names = names_in(self._validator.schema)
        except SchemaFault as fault:
            self.schema_fault = str(fault)
        except Exception as fault:  # noqa: BLE001 - an author's dict may hold anything; other recipes are to work
            self.schema_fault = f"{type(fault).__name__}: {fault}"

    def faults_in_text(self, text: str | None) -> list[str]:
        """Of params as the table has them; None: they are longer than what is read."""
        if text is None:
            return [f"params: more than {MAX_PARAMS_BYTES} bytes; of a recipe with params= no more are read"]
        try:
            params = json_object(text, unique_keys=True)  # as each job's claim reads them
        except ValueError as error:  # says where, and quotes nothing
            return [f"params: not readable as JSON: {error}"]
        return self.faults(params)

    def faults(self, params: Json) -> list[str]:
        """A sentence for each, without anything of params; empty when they are good."""
        if self.schema_fault:
            return [f"params: the recipe's own schema cannot be used ({self.schema_fault})"]
        try:
            errors = list(islice(self._validator.iter_errors(params), _MOST_ERRORS))
            said = [*dict.fromkeys(chain.from_iterable(sentences(error, self._names) for error in errors))]
        except RecursionError:
            return ["params: nested too deep to be checked"]
        except Exception as fault:  # noqa: BLE001 - whatever a schema meets in odd params: other requests go on
            return [f"params: they cannot be checked ({type(fault).__name__})"]
        is_all = len(said) <= MOST_FAULTS and len(errors) < _MOST_ERRORS
        return said if is_all else [*said[:MOST_FAULTS], "and more"]
