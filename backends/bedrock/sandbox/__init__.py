"""Bedrock's stand-in: its control and runtime planes by AWS's own service model, S3, IAM and STS by moto."""

from backends.bedrock.sandbox.room import BedrockRoom

__all__ = ["BedrockRoom"]
