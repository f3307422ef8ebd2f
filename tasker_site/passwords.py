"""How passwords of the admin's accounts are kept."""

from django.contrib.auth.hashers import PBKDF2PasswordHasher


class KeptPasswordHasher(PBKDF2PasswordHasher):
    """Django's own, but a login does not renew a hash: the web process may not write passwords (docs/security.md)."""

    def must_update(self, encoded: str) -> bool:
        return False
