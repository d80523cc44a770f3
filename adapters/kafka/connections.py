"""The library's connections, but they don't wait for ever, hear everybody out, and keep why the first one failed."""

import ssl
from typing import Any

from kafka.errors import KafkaConnectionError, KafkaTimeoutError  # type: ignore[import-untyped]
from kafka.net.inet import create_connection  # type: ignore[import-untyped]
from kafka.net.manager import KafkaConnectionManager  # type: ignore[import-untyped]
from kafka.net.selector import NetworkSelector  # type: ignore[import-untyped]
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport  # type: ignore[import-untyped]


class Connections(KafkaConnectionManager):  # type: ignore[misc]
    def __init__(self, patience_ms: int, **configs: Any) -> None:
        super().__init__(
            NetworkSelector(**configs),
            socket_connection_setup_timeout_ms=patience_ms,
            socket_connection_setup_timeout_max_ms=patience_ms,
            **configs,
        )
        self.first_failure: Exception | None = None
        """Later ones may only say that time was up."""

    async def _connect(self, node: Any, conn: Any, *args: Any, **kwargs: Any) -> None:
        conn.close_future.add_errback(self._remember)
        await super()._connect(node, conn, *args, **kwargs)

    def _remember(self, error: Exception) -> None:
        self.first_failure = self.first_failure or error

    async def _build_transport(self, node: Any, timeout_at: float | None = None) -> Any:
        options = self.config["socket_options"]
        sock = await create_connection(self._net, node.host, node.port, options, timeout_at=timeout_at)
        if not self.ssl_enabled:
            return _Plain(self._net, sock, host=node.host)
        transport = _Secure(self._net, sock, host=node.host, ssl_context=self.config["ssl_context"])
        try:
            await transport.shake_hands(timeout_at)
        except (OSError, KafkaTimeoutError) as error:
            transport.abort(error)
            raise KafkaConnectionError(error) from error
        return transport


class _HearingOut:
    """The library drops what came with the end of a connection, such as a broker's reason for it."""

    def _sock_recv(self) -> tuple[bytes, Exception | None]:
        received, error = super()._sock_recv()  # type: ignore[misc]
        # The end is there again when what came before it has been read.
        return received, None if received else error


class _Plain(_HearingOut, KafkaTCPTransport):  # type: ignore[misc]
    pass


class _Secure(_HearingOut, KafkaSSLTransport):  # type: ignore[misc]
    async def shake_hands(self, timeout_at: float | None) -> None:
        """The library would wait for ever for brokers that hang: their kernel still takes connections."""
        while True:
            try:
                self._sock.do_handshake()
            except ssl.SSLWantReadError:
                await self._net.wait_read(self._sock, timeout_at)
            except ssl.SSLWantWriteError:
                await self._net.wait_write(self._sock, timeout_at)
            else:
                return
