"""The admin. Importing this package registers its pages; TaskerAdminConfig says when."""

from requests_app.admin import answers as answers
from requests_app.admin import audit as audit
from requests_app.admin import passes as passes
from requests_app.admin import pauses as pauses
from requests_app.admin import receipts as receipts
from requests_app.admin import requests as requests
