"""Keys that many tokens are checked with."""

from __future__ import annotations

from kojuto.common.jwt.keys import for_native
from kojuto.common.jwt.verifying import signed_by

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kojuto.common.jwt.keys import Key


class Signers:
    """Keys, any of which may have signed a token.

    Good signatures are found without Python, a fifth of the time; whatever else there is to say of
    a token is said by `verifying.signed_by`.
    """

    def __init__(self, keys: Sequence[Key]) -> None:
        from kojuto._native import TokenKeys

        flat = [(key, entry) for key in keys for entry in for_native(key)]
        self.keys = keys
        self._owners = [key for key, _ in flat]
        self._native = TokenKeys([entry for _, entry in flat])

    def signed_by(self, token: str) -> tuple[Key, bytes]:
        """The key that has signed a token of right form, and the payload; no claim is looked at.

        Raises:
            TokenError: it is refused.
        """
        found = self._native.signed_by(token) if token.isascii() else None
        if found is None:
            return signed_by(token, self.keys)
        return self._owners[found[0]], found[1]
