"""Settings of the stores that are no local directory. Secrets come from the environment or a folder of files."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from services.core.runtime.settings import ServiceSettings

KEY_ID_FILE, KEY_FILE = "access-key-id", "secret-access-key"


class S3Settings(ServiceSettings):
    """The object store of `GLIOSERVE_BLOBS=s3://bucket[/prefix]`; read from GLIOSERVE_S3__<NAME>.

    Without an access key botocore looks for one as it always does: a pod's identity, a profile, AWS_* names.
    """

    endpoint: str | None = Field(default=None, pattern=r"^https?://.+$", description="None: AWS itself.")
    region: str = Field(default="us-east-1", min_length=1, description="Region of the bucket.")
    ca: Path | None = Field(default=None, description="PEM file of the CA that signed the endpoint's certificate.")
    credentials: Path | None = Field(
        default=None, description=f"Folder with the files `{KEY_ID_FILE}` and `{KEY_FILE}`, as a mounted Secret has."
    )
    access_key_id: SecretStr | None = Field(default=None, description="Instead of CREDENTIALS.")
    secret_access_key: SecretStr | None = Field(default=None, description="Instead of CREDENTIALS.")
    connect_s: float = Field(default=5.0, gt=0, description="How long a connection may take.")
    read_s: float = Field(default=30.0, gt=0, description="Longest silence of an answer.")
    attempts: int = Field(default=4, ge=1, description="Of one call, before it counts as a transient failure.")

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("ACCESS_KEY_ID and SECRET_ACCESS_KEY come together")
        if self.credentials is not None and self.access_key_id is not None:
            raise ValueError("give either CREDENTIALS or ACCESS_KEY_ID and SECRET_ACCESS_KEY")
        return self

    def key(self) -> tuple[str, str] | None:
        """Access key id and secret, or None where botocore is to look for them. Raises OSError, UnicodeError."""
        if self.credentials is not None:
            key_id, key = ((self.credentials / name).read_text().strip() for name in (KEY_ID_FILE, KEY_FILE))
            return key_id, key
        if self.access_key_id is None or self.secret_access_key is None:
            return None
        return self.access_key_id.get_secret_value(), self.secret_access_key.get_secret_value()


class TmpfsSettings(ServiceSettings):
    """Budgets of `GLIOSERVE_BLOBS=tmpfs:///directory`; read from GLIOSERVE_TMPFS__<NAME>."""

    total_bytes: int = Field(default=2 << 30, gt=0, description="Of all sessions together.")
    session_bytes: int = Field(default=768 << 20, gt=0, description="Of one session.")
