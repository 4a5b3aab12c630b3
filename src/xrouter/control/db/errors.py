"""What can be wrong with the database, for the operator."""

from __future__ import annotations

from xrouter.domain.errors import OperatorError


class DatabaseError(OperatorError):
    """503: the database cannot be used as it is configured, or not now."""

    status = 503
    type = "service_unavailable_error"
    default_code = "database_unavailable"
    fallback = False


class DatabaseTaken(DatabaseError):
    """Another process writes to this SQLite file; SQLite takes one."""
