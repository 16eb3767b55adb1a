"""Speaks HTTP to a model server: JSON requests, and replies as server-sent events.

The only importer of httpx2, which huggingface-hub brings. Connections stay open between requests.
Neither bodies nor URLs are logged. Environment variables for proxies are ignored for a server on
this machine.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import httpx2
import msgspec

from llmd.errors import DaemonError, printable

TIMEOUT_S = 600.0  # chosen: a long prefill on a slow machine sends nothing for minutes
CONNECT_TIMEOUT_S = 10.0  # chosen
END_OF_STREAM = "[DONE]"  # OpenAI's last event, which is not JSON
_HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
# The connection broke. A server may do so to an idle connection while a request is on its way.
_BROKEN = (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError)

for _name in ("httpx2", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.WARNING)  # they log every URL


class UnexpectedReplyError(DaemonError):
    """Reports that the server answered with an error, or with something other than JSON."""


class HttpClient:
    """Sends requests to the server at `url`, which may have a path. `server` names the server in
    errors. Every request raises UnexpectedReplyError, or DaemonError if there is no reply."""

    def __init__(self, url: str, server: str = "llama-server", timeout_s: float = TIMEOUT_S):
        self._url, self._server = url, server
        self._has_kept_connection = False
        self._client = httpx2.AsyncClient(
            base_url=url,
            headers=_HEADERS,
            timeout=httpx2.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
            limits=httpx2.Limits(keepalive_expiry=None),
            verify=url.startswith("https:"),  # loading certificates takes 130 ms
            trust_env=not is_loopback(httpx2.URL(url).host),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._client.aclose()

    async def get_json(self, path: str) -> Any:
        async with self._reply("GET", path, b"") as reply:
            return self._decode(await reply.aread())

    async def post_json(self, path: str, body: Any) -> Any:
        async with self._reply("POST", path, msgspec.json.encode(body)) as reply:
            return self._decode(await reply.aread())

    async def stream_events(self, path: str, body: Any) -> AsyncIterator[dict[str, Any]]:
        """Yields the JSON object of each event when the event arrives. Cancelling the task closes
        the connection, which tells the server to stop."""
        async with self._reply("POST", path, msgspec.json.encode(body)) as reply:
            async for event in httpx2.EventSource(reply):
                if event.data and event.data != END_OF_STREAM:
                    data = self._decode(event.data)
                    if isinstance(data, dict):
                        yield data

    @asynccontextmanager
    async def _reply(self, method: str, path: str, body: bytes) -> AsyncIterator[httpx2.Response]:
        request = self._client.build_request(method, path, content=body)
        try:
            reply = await self._send(request)
            try:
                if not reply.is_success:
                    reason = printable(_error_message(await reply.aread()))
                    raise UnexpectedReplyError(
                        f"{self._server} at `{self._url}` refused the request"
                        f" ({reply.status_code}): {reason}"
                    )
                yield reply
            finally:
                await reply.aclose()
        except httpx2.HTTPError as error:
            reason = printable(str(error)) or type(error).__name__  # a timeout has no text
            if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
                message = f"No {self._server} answers at `{self._url}`: {reason}; start it first"
            else:
                message = f"The request to {self._server} at `{self._url}` failed: {reason}"
            raise DaemonError(message) from None

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        """Sends the request, and once more if a kept connection turns out to be closed."""
        try:
            reply = await self._client.send(request, stream=True)
        except _BROKEN:
            if not self._has_kept_connection:
                raise
            reply = await self._client.send(request, stream=True)
        self._has_kept_connection = True
        return reply

    def _decode(self, data: bytes | str) -> Any:
        try:
            return msgspec.json.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise UnexpectedReplyError(
                f"{self._server} at `{self._url}` sent invalid JSON; check that the URL is that of"
                f" a {self._server}"
            ) from None


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _error_message(body: bytes) -> str:
    """Returns the message of an error in OpenAI's form, which llama-server uses too."""
    try:
        return str(msgspec.json.decode(body)["error"]["message"])
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError):
        return "no reason given"
