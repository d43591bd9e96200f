"""One inference, asked so that its caller can give it up: a cancelled call leaves the server's queue as well."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput

LOOK_S = 0.05
_Answer: TypeAlias = "tuple[Any, Exception | None]"


class Asker:
    """Calls of one connection. Safe to share between threads."""

    def __init__(self, server: InferenceServerClient) -> None:
        self._server = server
        self._lock = threading.Lock()

    def ask(
        self,
        inputs: Sequence[InferInput],
        outputs: Sequence[InferRequestedOutput],
        options: dict[str, Any],
        pulse: Callable[[], None] | None,
    ) -> Any:
        """The result. While it is computed `pulse` is called every 50 ms; what it raises cancels the call and passes.

        Raises InferenceServerException.
        """
        if pulse is None:
            return self._server.infer(inputs=inputs, outputs=outputs, **options)
        answers: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
        with self._lock:  # the library keeps the last call in an attribute while it is being made
            call = self._server.async_infer(
                inputs=inputs,
                outputs=outputs,
                callback=lambda result, error: answers.put((result, error)),
                **options,
            )
        try:
            result, error = _awaited(answers, pulse)
        except BaseException:
            call.cancel()
            raise
        if error is not None:
            raise error
        return result


def _awaited(answers: queue.SimpleQueue[_Answer], pulse: Callable[[], None]) -> _Answer:
    while True:
        try:
            return answers.get(timeout=LOOK_S)
        except queue.Empty:
            pulse()
