"""Read and write values that AWS stores under a name: parameters, secrets, objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from copilot_testenv.aws.calls import Calls, answered_at
from copilot_testenv.core.errors import Failed


class Stored(Calls):
    """Call SSM, Secrets Manager and S3."""

    def parameter(self, name: str) -> str | None:
        """Return the value of an SSM parameter that is not a secret; None where it does not exist."""
        found = self._find("ssm", "get_parameter", "ParameterNotFound", Name=name)
        return str(found["Parameter"]["Value"]) if found else None

    def parameters_below(self, path: str) -> dict[str, str]:
        """Return the values of the SSM parameters below a path, by name; none of them is a secret."""
        pages = self._pages("ssm", "get_parameters_by_path", Path=path)
        return {found["Name"]: found["Value"] for page in pages for found in page["Parameters"]}

    def put_parameter(self, name: str, value: str, description: str, tags: Mapping[str, str]) -> None:
        """Create an SSM parameter that is no secret; leave one of that name as it is."""
        self._find(
            "ssm",
            "put_parameter",
            "ParameterAlreadyExists",
            Name=name,
            Value=value,
            Type="String",
            Description=description,
            Tags=[{"Key": key, "Value": text} for key, text in tags.items()],
        )

    def delete_parameters(self, names: Sequence[str]) -> set[str]:
        """Delete SSM parameters; return the names of those that existed."""
        deleted: set[str] = set()
        for start in range(0, len(names), 10):
            found = self._ask("ssm", "delete_parameters", Names=list(names[start : start + 10]))
            deleted |= set(found.get("DeletedParameters", ()))
        return deleted

    def parameter_tags(self, name: str) -> dict[str, str] | None:
        """Return the tags of an SSM parameter; None where it does not exist."""
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
        """Return the names that are not SSM parameters; values are not decrypted."""
        missing: list[str] = []
        for start in range(0, len(names), 10):  # SSM allows ten names in a call
            found = self._ask("ssm", "get_parameters", Names=names[start : start + 10], WithDecryption=False)
            missing += found.get("InvalidParameters", [])
        return missing

    def parameter_values(self, names: Sequence[str]) -> dict[str, str]:
        """Return the decrypted values of the SSM parameters that exist. They are secrets: never show them."""
        values: dict[str, str] = {}
        for start in range(0, len(names), 10):
            found = self._ask("ssm", "get_parameters", Names=names[start : start + 10], WithDecryption=True)
            values |= {parameter["Name"]: parameter["Value"] for parameter in found["Parameters"]}
        return values

    def secret_value(self, name: str) -> str | None:
        """Return the text of a Secrets Manager secret, by name or ARN; None where it has none.

        Never show it.
        """
        found = self._find("secretsmanager", "get_secret_value", "ResourceNotFoundException", SecretId=name)
        return found.get("SecretString") if found else None

    def object_content(self, bucket: str, key: str, most: int) -> bytes | None:
        """Return the first `most` bytes of an object; None where it does not exist."""
        found = self._find("s3", "get_object", "NoSuchKey", Bucket=bucket, Key=key)
        return bytes(found["Body"].read(most)) if found else None

    def object_metadata(self, bucket: str, key: str) -> dict[str, str] | None:
        """Return an object's own metadata; None where it does not exist."""
        found = self._find("s3", "head_object", "404", "NoSuchKey", Bucket=bucket, Key=key)
        return found["Metadata"] if found else None

    def has_object(self, bucket: str, key: str) -> bool:
        return self.object_metadata(bucket, key) is not None

    def put_object(self, bucket: str, key: str, body: bytes, **more: object) -> None:
        """Write an object; `more` are further arguments of S3, such as ContentType."""
        self._ask("s3", "put_object", Bucket=bucket, Key=key, Body=body, **more)

    def has_bucket(self, bucket: str) -> bool:
        """Return True if the bucket exists. Raises Failed where it is another account's."""
        return self._find("s3", "head_bucket", "404", "NoSuchBucket", Bucket=bucket) is not None

    def object_keys(self, bucket: str, prefix: str) -> list[str]:
        """Return the keys in a bucket that begin with a prefix."""
        return list(self.object_ages(bucket, prefix))

    def object_ages(self, bucket: str, prefix: str) -> dict[str, float]:
        """Return the seconds since each object was written whose key begins with a prefix, by S3's clock."""
        return {
            item["Key"]: answered_at(page) - item["LastModified"].timestamp()
            for page in self._pages("s3", "list_objects_v2", Bucket=bucket, Prefix=prefix)
            for item in page.get("Contents", ())
        }

    def delete_objects(self, bucket: str, keys: Sequence[str]) -> None:
        """Delete these objects. Raises Failed where one could not be deleted."""
        for start in range(0, len(keys), 1000):  # a call takes 1000 keys
            page = [{"Key": key} for key in keys[start : start + 1000]]
            answer = self._ask("s3", "delete_objects", Bucket=bucket, Delete={"Objects": page, "Quiet": True})
            if errors := answer.get("Errors"):
                raise Failed(f"s3://{bucket}/{errors[0]['Key']} was not deleted: {errors[0].get('Message')}.")
