"""The two passes over the requests: run_new_requests picks up, run_inprogress_requests moves on."""

from requests_app.passes.inprogress_requests import run_inprogress_requests as run_inprogress_requests
from requests_app.passes.new_requests import run_new_requests as run_new_requests
