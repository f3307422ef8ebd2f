"""The settings of ENV=production, as `manage.py check --deploy` sees them."""

import pytest

PRODUCTION = {
    "ENV": "production",
    "PORT": "8000",
    "DB_USER": "u",
    "DB_PASS": "p",
    "DB_HOST": "127.0.0.1",
    "DB_PORT": "3306",
    "DB_NAME": "n",
    "URL_SERVICE1": "https://service1.example",
    "URL_SERVICE2": "https://service2.example",
    "URL_SERVICE3": "https://service3.example",
    "DJANGO_ALLOWED_HOSTS": "tasker.example",
    "DJANGO_SECRET_KEY": "Zk3vJ8-rT5w_Qy7uXn2pLc9dBf6hGm4sWa1eRi0oUtYvKjHxNz",
}


def test_the_deployment_checks_find_nothing(manage_without_database):
    checked = manage_without_database("check", "--deploy", "--fail-level", "WARNING", **PRODUCTION)
    assert checked.returncode == 0, checked.stderr


def test_answers_over_plain_http_are_warned_of(manage_without_database):
    keys = {"WRK_ANSWER_KEYS": PRODUCTION["DJANGO_SECRET_KEY"]}
    for scheme, code in (("https", 0), ("http", 1)):
        given = PRODUCTION | keys | {"WRK_PUBLIC_URL": f"{scheme}://tasker.example"}
        checked = manage_without_database("check", "--deploy", "--fail-level", "WARNING", **given)
        assert checked.returncode == code, checked.stderr
        assert ("tasker.W002" in checked.stderr) == bool(code)


def test_notifications_over_plain_http_to_another_machine_are_warned_of(manage_without_database):
    keys = {"WRK_NOTIFY_KEYS": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
    for url, code in (("https://shop.example", 0), ("http://127.0.0.1:81", 0), ("http://shop.example", 1)):
        given = PRODUCTION | keys | {"WRK_NOTIFY": f"shop={url}"}
        checked = manage_without_database("check", "--deploy", "--fail-level", "WARNING", **given)
        assert checked.returncode == code, checked.stderr
        assert ("tasker.W003" in checked.stderr) == bool(code)


@pytest.mark.parametrize("name", ["URL_SERVICE2", "URL_CRM"])
def test_a_service_over_plain_http_on_another_machine_is_warned_of(name, manage_without_database):
    """Also one of WRK_SERVICES; what listens on this machine is nobody else's to hear."""
    for url, code in (("https://x.example", 0), ("http://[::1]:81", 0), ("http://x.example", 1)):
        given = PRODUCTION | {"WRK_SERVICES": "crm", "URL_CRM": "https://crm.example"} | {name: url}
        checked = manage_without_database("check", "--deploy", "--fail-level", "WARNING", **given)
        assert checked.returncode == code, checked.stderr
        assert (f"(tasker.W006) {name} is http://" in checked.stderr) == bool(code)


@pytest.mark.parametrize("name", ["PORT", "DB_HOST", "URL_SERVICE2"])
def test_a_required_name_that_is_missing_is_named(name, manage_without_database):
    checked = manage_without_database("check", "--deploy", **(PRODUCTION | {name: ""}))
    assert checked.returncode != 0
    assert name in checked.stderr
