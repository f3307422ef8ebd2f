"""Deletes a user from all three services. Params: {"id": int}."""

from requests_app.recipes import Recipe, Step

RECIPE = Recipe(
    action="delete_user",
    receipt=True,
    steps=(
        # Service 3 knows a user by e-mail only: it is read before anything is deleted.
        Step("retrieve_user", ("service1_get_user",)),
        Step("delete_user_accounts", ("service1_delete_user", "service2_delete_user", "service3_delete_user")),
    ),
    subject="id",
)
