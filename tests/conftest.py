"""How hard hypothesis tries: `default` for every run of the suite, `fuzz` for `make fuzz`.

`default` is the same on every machine and every run, so that a failure is a change's fault. `fuzz` draws new
examples each time, and twenty times as many, also where a test asks for a number of its own.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

_FUZZ_FACTOR = 20

settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("fuzz", deadline=None, max_examples=100 * _FUZZ_FACTOR, print_blob=True)
settings.load_profile("default")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--hypothesis-profile") != "fuzz":
        return
    most = 100 * _FUZZ_FACTOR
    for item in items:
        test = getattr(item, "obj", None)
        own = getattr(test, "_hypothesis_internal_use_settings", None)
        if own is not None and own.max_examples < most:
            function = getattr(test, "__func__", test)
            function._hypothesis_internal_use_settings = settings(
                own, max_examples=own.max_examples * _FUZZ_FACTOR, derandomize=False
            )
