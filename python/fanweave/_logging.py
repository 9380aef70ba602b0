"""Records of the logger ``fanweave``, made from the engine's events. Loaded only where ``logging`` is."""

from __future__ import annotations

import logging

# `typing` takes longer to load than all of this package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

logger = logging.getLogger("fanweave")
# Without a handler of the program, warnings would be printed to stderr.
logger.addHandler(logging.NullHandler())


def level() -> int:
    """The lowest level that a handler takes, or 0 without one."""
    if logger.disabled:
        return 0
    at: logging.Logger | None = logger
    while at is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in at.handlers):
            return min(max(logger.getEffectiveLevel(), logging.root.manager.disable + 1, 1), 50)
        at = at.parent if at.propagate else None
    return 0


def emit(number: int, message: str, fields: dict[str, Any]) -> None:
    """Makes a record. Its attributes ``fanweave`` and ``step`` are all details, and the path of the step."""
    if not logger.isEnabledFor(number):
        return
    step = fields.get("step")
    details = ", ".join(f"{name} {value}" for name, value in fields.items() if name != "step")
    text = f"step {step}: {message}" if step else message
    record = logger.makeRecord(
        logger.name,
        number,
        "fanweave",
        0,
        f"{text} ({details})" if details else text,
        (),
        None,
        extra={"step": step, "fanweave": fields},
    )
    logger.handle(record)
