"""The crontab holds the settings' schedules; what cannot be a schedule or a command never gets into it."""

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from requests_app.monitoring.cron_lines import cron_fault

NAMES = {
    "WRK_REQUEST_NEW_CRON": "run_new_requests",
    "WRK_JOB_CRON": "run_jobs",
    "WRK_REQUEST_INPROGRESS_CRON": "run_inprogress_requests",
}


def rendered(**options: object) -> list[str]:
    """The lines that are not comments."""
    output = StringIO()
    call_command("render_crontab", stdout=output, skip_checks=True, **options)
    assert output.getvalue().endswith("\n")  # cron ignores a last line without its end
    return [line for line in output.getvalue().splitlines() if not line.startswith("#")]


def test_each_pass_is_run_by_its_own_schedule(settings):
    for number, name in enumerate(NAMES, start=1):
        setattr(settings, name, f"{number} * * * *")
    lines = rendered(python=Path("/venv/bin/python"), manage=Path("/app/manage.py"))
    assert lines == [
        f"{number} * * * * cd /app && exec /venv/bin/python /app/manage.py {command}"
        for number, command in enumerate(NAMES.values(), start=1)
    ]


def test_paths_with_spaces_stay_one_word():
    for line in rendered(python=Path("/a b/python"), manage=Path("/it's/manage.py")):
        assert "cd '/it'\"'\"'s' && exec '/a b/python' '/it'\"'\"'s/manage.py' run_" in line


@pytest.mark.parametrize("name", ["50%", "two\nlines"])
def test_a_path_that_cron_would_cut_is_refused(name):
    with pytest.raises(CommandError, match="a crontab cannot hold"):
        rendered(python=Path("/usr/bin/python3"), manage=Path(name) / "manage.py")


def test_a_machine_s_own_cron_gets_absolute_paths_by_default():
    for line in rendered():
        folder, _, _, python, manage = line.split()[6:11]
        assert Path(folder) == Path(manage).parent
        assert Path(python).is_absolute()
        assert Path(manage).is_absolute()
        assert Path(manage).name == "manage.py"


@pytest.mark.parametrize("arguments", [("--python", "/no/such/python"), ("--manage", "/no/such/manage.py")])
def test_a_path_that_is_not_there_is_wrong_usage(arguments, manage_without_database):
    ended = manage_without_database("render_crontab", *arguments)
    assert ended.returncode == 2
    assert arguments[1] in ended.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_malformed_line_is_refused_with_the_name_of_its_setting(name, manage_without_database):
    ended = manage_without_database("render_crontab", **{name: "61 * * * *"})
    assert ended.returncode == 1
    assert f"{name}: '61 * * * *' is not a cron line" in ended.stderr
    assert ended.stdout == ""


@pytest.mark.parametrize(
    "line", ["* * * *", "* * * * * *", "@hourly", "*/0 * * * *", "soon", "* * * * * # x", "* * * 13 *"]
)
def test_what_one_cron_or_the_other_would_read_differently_is_no_line(line):
    assert "is not a cron line" in (cron_fault(line) or "")


def test_with_the_workers_switched_off_it_is_empty_and_says_why(settings):
    settings.WRK_ENABLED = False
    output, error = StringIO(), StringIO()
    call_command("render_crontab", stdout=output, stderr=error, skip_checks=True)
    assert output.getvalue() == ""
    assert error.getvalue() == "WRK_ENABLED is false: the crontab is empty, no pass will run\n"
