"""The actions and their recipes, what a recipe demands of params (params/, loaded when it is needed), and its steps.

`Job`, `Recipe` and `Step` are what a file of a recipe imports.
"""

from requests_app.recipes.registry import NOTIFY as NOTIFY
from requests_app.recipes.registry import Recipe as Recipe
from requests_app.recipes.registry import known_actions as known_actions
from requests_app.recipes.registry import params_check as params_check
from requests_app.recipes.registry import place_of as place_of
from requests_app.recipes.registry import recipe_of as recipe_of
from requests_app.recipes.registry import recipes as recipes
from requests_app.recipes.registry import register as register
from requests_app.recipes.registry import register_all as register_all
from requests_app.recipes.registry import unregister as unregister
from requests_app.recipes.steps import Job as Job
from requests_app.recipes.steps import Step as Step
