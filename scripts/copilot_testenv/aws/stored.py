"""Values that AWS keeps under a name: parameters, secrets, objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from copilot_testenv.aws.calls import Calls
from copilot_testenv.core.errors import Failed


class Stored(Calls):
    """Read and write what SSM, Secrets Manager and S3 keep."""

    def parameter(self, name: str) -> str | None:
        """Return the value of an SSM parameter that is no secret; None where there is none."""
        found = self._find("ssm", "get_parameter", "ParameterNotFound", Name=name)
        return str(found["Parameter"]["Value"]) if found else None

    def delete_parameter(self, name: str) -> bool:
        """Delete an SSM parameter; whether there was one."""
        return self._find("ssm", "delete_parameter", "ParameterNotFound", Name=name) is not None

    def parameter_tags(self, name: str) -> dict[str, str] | None:
        """Return the tags of an SSM parameter; None where there is no such parameter."""
        which = {"ResourceType": "Parameter", "ResourceId": name}
        found = self._find("ssm", "list_tags_for_resource", "InvalidResourceId", **which)
        return {tag["Key"]: tag["Value"] for tag in found["TagList"]} if found else None

    def tag_parameter(self, name: str, tags: Mapping[str, str]) -> None:
        """Set some of an SSM parameter's tags."""
        self._ask(
            "ssm",
            "add_tags_to_resource",
            ResourceType="Parameter",
            ResourceId=name,
            Tags=[{"Key": key, "Value": text} for key, text in tags.items()],
        )

    def missing_parameters(self, names: list[str]) -> list[str]:
        """Return which of these SSM parameters do not exist.

        Ask for ten a call, as SSM allows; values are not decrypted.
        """
        missing: list[str] = []
        for start in range(0, len(names), 10):
            found = self._ask("ssm", "get_parameters", Names=names[start : start + 10], WithDecryption=False)
            missing += found.get("InvalidParameters", [])
        return missing

    def parameter_values(self, names: Sequence[str]) -> dict[str, str]:
        """Return the decrypted values of those of these SSM parameters that exist.

        They are secrets and never shown.
        """
        values: dict[str, str] = {}
        for start in range(0, len(names), 10):
            found = self._ask("ssm", "get_parameters", Names=names[start : start + 10], WithDecryption=True)
            values |= {each["Name"]: each["Value"] for each in found["Parameters"]}
        return values

    def secret_value(self, name: str) -> str | None:
        """Return the text of a Secrets Manager secret, by name or ARN, never to be shown.

        It is None where it has none.
        """
        found = self._find("secretsmanager", "get_secret_value", "ResourceNotFoundException", SecretId=name)
        return found.get("SecretString") if found else None

    def object_keys(self, bucket: str, prefix: str) -> list[str]:
        """Return the keys in a bucket that begin so."""
        pages = self._pages("s3", "list_objects_v2", Bucket=bucket, Prefix=prefix)
        return [each["Key"] for page in pages for each in page.get("Contents", ())]

    def delete_objects(self, bucket: str, keys: Sequence[str]) -> None:
        """Delete these objects. Raises Failed where one could not be."""
        for start in range(0, len(keys), 1000):  # as many as one call takes
            page = [{"Key": key} for key in keys[start : start + 1000]]
            answer = self._ask("s3", "delete_objects", Bucket=bucket, Delete={"Objects": page, "Quiet": True})
            if errors := answer.get("Errors"):
                raise Failed(f"s3://{bucket}/{errors[0]['Key']} was not deleted: {errors[0].get('Message')}.")
