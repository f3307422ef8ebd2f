"""How a service recognises us and we recognise it: its settings AUTH_, CA_ and CERT_, as their files are now."""

from functools import cache, partial
from pathlib import Path
from threading import Lock

from django.conf import settings

from jobs_app.clients.reread import Reread
from jobs_app.clients.transport import Adapter
from jobs_app.credentials import demand_header, know_secret


class Keys:
    """Beside URL_CRM these are the settings AUTH_CRM, CA_CRM and CERT_CRM, where there are such."""

    def __init__(self, url_setting: str) -> None:
        self._auth, self._ca, self._cert = (url_setting.replace("URL_", kind, 1) for kind in ("AUTH_", "CA_", "CERT_"))

    def authorization(self) -> str:
        """A whole Authorization header, or an empty text."""
        given: str = getattr(settings, self._auth, "")
        path = settings.SECRET_FILES.get(self._auth)
        return _header_of(self._auth, path, given).value() if path else given

    def adapter(self) -> Adapter:
        """Its connections. Services without a CA and a certificate of their own share one."""
        files = {setting: getattr(settings, setting, "") for setting in (self._ca, self._cert)}
        named = " or ".join(setting for setting, path in files.items() if path)
        with _building:
            adapter = _built_adapter(named, *files.values())
        return adapter.value()

    def shown(self) -> str:
        """The settings that say to the service who calls, for a sentence."""
        given = [setting for setting in (self._auth, self._cert) if getattr(settings, setting, "")]
        return " and ".join(given) or f"a call without {self._auth}"


def shared_adapter() -> Adapter:
    """The connections of all that have no CA and no certificate of their own."""
    with _building:
        adapter = _built_adapter("", "", "")
    return adapter.value()


_building = Lock()  # `cache` alone lets each of many threads that ask together build one


@cache
def _header_of(setting: str, path: str, given: str) -> Reread[str]:
    return Reread(setting, [path], partial(_read_header, Path(path)), given or None)


def _read_header(path: Path) -> str:
    header = demand_header(path.read_text("utf-8-sig").strip())
    know_secret(header)
    return header


@cache
def _built_adapter(setting: str, ca: str, cert: str) -> Reread[Adapter]:
    """It holds the open connections and the TLS context, which takes long to make."""
    return Reread(setting, [ca, cert], partial(Adapter, ca, cert, pool_maxsize=settings.WRK_JOB_CONCURRENCY))
