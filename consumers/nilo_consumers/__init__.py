"""The consumers: sinks that write the topics into stores, and alerts for your own code."""

from nilo_consumers.extras import require

require()

from nilo_consumers.alerts.consumer import (  # noqa: E402  the packages are there only from here on
    AlertConsumer,
)
from nilo_consumers.errors import (  # noqa: E402
    AddressTakenError,
    BrokerRefusedError,
    MissingExtraError,
    RowsRefusedError,
    StoreError,
    StoreMovedError,
    StoreRefusedError,
    StoreUnavailableError,
    UnknownSinkError,
)
from nilo_consumers.read import (  # noqa: E402
    count_parquet,
    count_postgres,
    windows_parquet,
    windows_postgres,
)
from nilo_consumers.read_sqlite import count_sqlite, windows_sqlite  # noqa: E402
from nilo_consumers.run import SINKS, run_sink  # noqa: E402

__all__ = [
    "SINKS",
    "AddressTakenError",
    "AlertConsumer",
    "BrokerRefusedError",
    "MissingExtraError",
    "RowsRefusedError",
    "StoreError",
    "StoreMovedError",
    "StoreRefusedError",
    "StoreUnavailableError",
    "UnknownSinkError",
    "count_parquet",
    "count_postgres",
    "count_sqlite",
    "run_sink",
    "windows_parquet",
    "windows_postgres",
    "windows_sqlite",
]
