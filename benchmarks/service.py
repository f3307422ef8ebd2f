"""A local HTTP service whose every answer waits: `python -m benchmarks.service --wait 0.02` prints its port.

One thread and no framework, so that on a machine of two cores it takes little from what is measured.
"""

import argparse
import asyncio

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
END_OF_HEADERS = b"\r\n\r\n"


class Waiting(asyncio.Protocol):
    """Answers requests without a body, one after the other on a connection."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for mypy: a server's are
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while END_OF_HEADERS in self._received:
            _, _, self._received = self._received.partition(END_OF_HEADERS)
            asyncio.get_running_loop().call_later(self._seconds, self._transport.write, ANSWER)


async def serve(seconds: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Waiting(seconds), "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wait", type=float, default=0.02, metavar="SECONDS")
    asyncio.run(serve(parser.parse_args().wait))
