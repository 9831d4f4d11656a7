"""A connection to a graph database over Bolt: the official driver, tried again while the failure may pass.

Layer: ``kg``; the driver (``neo4j``, extra of that name) is imported when a connection is made.

Everything that is written is idempotent, so a transaction whose outcome is not known (the connection broke while it was
committed) is simply run again. That is more than the driver's own retries allow, so tenacity (Apache-2.0) does it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from kg.errors import ConfigError, GraphUnreachableError, InputError, MissingExtraError, StoreError

if TYPE_CHECKING:
    from neo4j import Driver, ManagedTransaction

__all__ = ["BoltConnection", "BoltServer"]

_T = TypeVar("_T")
_log = logging.getLogger(__name__)

Query = tuple[str, Mapping[str, Any]]
"""Cypher and its parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoltServer:
    """Where a graph database is and how patiently it is asked.

    ``uri`` has a scheme of the driver (``bolt``, ``neo4j``, and each with ``+s`` or ``+ssc`` for TLS); an empty
    ``database`` takes the server's default. A failure that may pass is tried ``attempts`` times in all, with pauses
    that double from ``backoff_s`` up to ten times that.
    """

    uri: str
    user: str = "neo4j"
    password: str = field(default="", repr=False)
    database: str = ""
    attempts: int = 5
    backoff_s: float = 0.5
    connect_timeout_s: float = 10.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.backoff_s < 0 or self.connect_timeout_s <= 0:
            raise InputError(
                "BoltServer: attempts must be at least 1, backoff_s not negative and connect_timeout_s positive, got "
                f"{self.attempts}, {self.backoff_s} and {self.connect_timeout_s}."
            )


class BoltConnection:
    """Runs queries on one server; safe to share between threads. Connects with the first query.

    :param server: Where it is.
    """

    def __init__(self, server: BoltServer) -> None:
        self._server = server
        self._driver = _make_driver(server)

    def read(self, cypher: str, **parameters: Any) -> list[dict[str, Any]]:
        """Run one query and return its rows.

        :param cypher: The query.
        :param **parameters: Its parameters.
        :returns: One mapping for each row.
        :raises GraphUnreachableError: If the server does not answer, after all attempts.
        :raises StoreError: If it refuses the query.
        """

        def work(transaction: ManagedTransaction) -> list[dict[str, Any]]:
            return [record.data() for record in transaction.run(cypher, dict(parameters))]

        return self._try(work, write=False)

    def write(self, queries: Sequence[Query]) -> list[list[dict[str, Any]]]:
        """Run queries in one transaction, which must leave the same state if it is run twice.

        :param queries: Cypher and parameters, in order.
        :returns: The rows of each.
        :raises GraphUnreachableError: If the server does not answer, after all attempts.
        :raises StoreError: If it refuses a query; nothing of the transaction is kept then.
        """

        def work(transaction: ManagedTransaction) -> list[list[dict[str, Any]]]:
            return [
                [record.data() for record in transaction.run(cypher, dict(parameters))]
                for cypher, parameters in queries
            ]

        return self._try(work, write=True)

    def define(self, cypher: str) -> None:
        """Run one query of the schema, which has a transaction of its own; raises as :meth:`write` does."""

        def work(transaction: ManagedTransaction) -> None:
            transaction.run(cypher).consume()

        self._try(work, write=True)

    def close(self) -> None:
        """Close all connections."""
        self._driver.close()

    def _try(self, work: Callable[[ManagedTransaction], _T], *, write: bool) -> _T:
        from neo4j.exceptions import DriverError, Neo4jError
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

        server = self._server
        retrying = Retrying(
            retry=retry_if_exception(_may_pass),
            stop=stop_after_attempt(server.attempts),
            wait=wait_exponential(multiplier=server.backoff_s, max=10 * server.backoff_s),
            before_sleep=lambda state: _log.warning(
                "%s did not answer (attempt %d): %s", server.uri, state.attempt_number, _reason(state.outcome)
            ),
            reraise=True,
        )
        try:
            found: _T = retrying(self._once, work, write=write)
            return found
        except (DriverError, Neo4jError, OSError) as error:
            raise _explained(error, server) from error

    def _once(self, work: Callable[[ManagedTransaction], _T], *, write: bool) -> _T:
        with self._driver.session(database=self._server.database or None) as session:
            return session.execute_write(work) if write else session.execute_read(work)


def _make_driver(server: BoltServer) -> Driver:
    try:
        from neo4j import GraphDatabase
        from neo4j.exceptions import ConfigurationError
    except ImportError as error:
        raise MissingExtraError(
            "The graph database needs the driver `neo4j`, which is not installed: pip install 'mmkgrag[neo4j]'."
        ) from error
    try:
        return GraphDatabase.driver(
            server.uri,
            auth=(server.user, server.password) if server.user else None,
            connection_timeout=server.connect_timeout_s,
            connection_acquisition_timeout=server.connect_timeout_s,
            max_transaction_retry_time=0,  # tenacity does it
            telemetry_disabled=True,
            user_agent="mmkgrag",
        )
    except (ConfigurationError, ValueError) as error:
        raise ConfigError(
            f"The graph database's address {server.uri!r} cannot be used ({error}). Write MMKG_NEO4J__URI as "
            "bolt://HOST:7687, or neo4j://HOST:7687 for a cluster."
        ) from error


def _may_pass(error: BaseException) -> bool:
    """Say whether the same transaction may succeed when it is run again."""
    from neo4j.exceptions import DriverError, IncompleteCommit, Neo4jError

    if isinstance(error, IncompleteCommit | OSError):
        return True  # idempotent, so an unknown outcome is as good as none
    return isinstance(error, DriverError | Neo4jError) and error.is_retryable()


def _reason(outcome: Any) -> str:
    return "" if outcome is None else str(outcome.exception())


def _explained(error: Exception, server: BoltServer) -> Exception:
    from neo4j.exceptions import AuthError, ConfigurationError

    if isinstance(error, AuthError):
        return ConfigError(
            f"The graph database at {server.uri} refused user {server.user!r}: {error}. Set MMKG_NEO4J__USER and "
            "MMKG_NEO4J__PASSWORD."
        )
    if isinstance(error, ConfigurationError):
        return ConfigError(f"The graph database at {server.uri} cannot be used as configured: {error}.")
    if _may_pass(error):
        return GraphUnreachableError(
            f"The graph database at {server.uri} did not answer in {server.attempts} attempts ({error}). The record is "
            "unharmed. Start the database and run `mmkg graph sync`, which takes up where this stopped."
        )
    return StoreError(f"The graph database at {server.uri} refused a query: {error}")
