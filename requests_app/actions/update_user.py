"""Changes a user's e-mail in all three services. Params: {"id": int, "email": str}."""

from requests_app.recipes import Recipe, Step

RECIPE = Recipe(
    action="update_user",
    steps=(
        # Service 3 knows a user by the old e-mail: it is read before anything is changed.
        Step("retrieve_user", ("service1_get_user",)),
        Step("update_user_accounts", ("service1_update_user", "service2_update_user", "service3_update_user")),
    ),
    subject="id",
)
