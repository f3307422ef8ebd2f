"""The tables of the requests' side, by which Django finds them."""

from requests_app.models.intervention import Intervention as Intervention
from requests_app.models.purge_run import Purge as Purge
from requests_app.models.receipt import Receipt as Receipt
from requests_app.models.receipt import ReceiptHead as ReceiptHead
from requests_app.models.request import Request as Request
from requests_app.models.retry_pace import RetryPace as RetryPace
from requests_app.models.status import RequestStatus as RequestStatus
from requests_app.models.status_bearer import StatusBearer as StatusBearer
