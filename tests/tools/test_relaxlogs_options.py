"""The values that relaxlogs takes and refuses."""

from __future__ import annotations

import pytest

from kojuto.tools import relaxlogs


def test_a_mode_has_nine_bits() -> None:
    assert relaxlogs._mode("777") == 0o777
    for text in ("1777", "1000", "0", "-1", "8"):
        with pytest.raises(ValueError, match="not a file mode"):
            relaxlogs._mode(text)
