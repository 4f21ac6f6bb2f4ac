"""Names in place of identifiers: the same for the same identifier within a job, and no way back.

With a secret (one drawn for the job, or the user's) a pseudonym is an HMAC-SHA256 of the identifier. The secret is
never written. Short record numbers could be guessed from a plain hash; from this they cannot.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

SALT_BYTES = 32
_LENGTH = 16
_UUID_ROOT = "2.25."  # UIDs made of a UUID (PS3.5 B.2)


class Pseudonyms:
    """Pseudonyms of one job.

    Args:
        secret: Makes two jobs agree; by default one is drawn that nobody keeps.
    """

    def __init__(self, secret: str | None = None) -> None:
        self._key = secret.encode() if secret is not None else secrets.token_bytes(SALT_BYTES)

    def of(self, value: str, length: int = _LENGTH) -> str:
        """Hex digits that stand for an identifier; surrounding blanks do not count, an empty one stays empty."""
        value = value.strip()
        return self._digest(value).hex()[:length] if value else ""

    def uid(self, uid: str) -> str:
        """The UID that stands for a UID, of the form 2.25.<integer of 128 bits>."""
        return _UUID_ROOT + str(int.from_bytes(self._digest(uid.strip())[:16], "big") | 1 << 120)

    def days(self, patient: str) -> int:
        """By how many days the dates of a patient are moved: 1 to 3,650 into the past."""
        return 1 + int.from_bytes(self._digest("days\0" + patient.strip())[:8], "big") % 3650

    def _digest(self, value: str) -> bytes:
        return hmac.new(self._key, value.encode(), hashlib.sha256).digest()
